"""Definitions that are wrong, each with every finding that must be told, exactly as it is told."""

BROKEN = {
    "empty_file": (
        (""),
        [
            "w.yaml:1:1: the file is empty; `manage.py workflow new` writes one",
        ],
    ),
    "list_at_the_top": (
        ("- a\n- b\n"),
        [
            "w.yaml:1:1: a definition is a mapping with name and steps, not a list",
        ],
    ),
    "colon_in_a_text": (
        ("name: w\ndescription: what: ever\nsteps:\n  a: {skill: x.y}\n"),
        [
            "w.yaml:2:18: this is no YAML: a second ': ' on this line; quote a text that holds one",
        ],
    ),
    "tab": (
        ("name: w\nsteps:\n\ta: {skill: x}\n"),
        [
            "w.yaml:3:1: this is no YAML: this character begins nothing; indent with spaces, and quote a text that begins with it",
        ],
    ),
    "bad_indentation": (
        ("name: w\nsteps:\n  a:\n    skill: x\n   when: true\n"),
        [
            "w.yaml:5:4: this is no YAML: this line is not indented like the ones around it",
        ],
    ),
    "open_quote": (
        ("name: w\ndescription: 'oh\nsteps:\n  a: {skill: x.y}\n"),
        [
            "w.yaml:5:1: this is no YAML: a quoted text has no end",
        ],
    ),
    "two_documents": (
        ("name: w\nsteps:\n  a: {skill: x.y}\n---\nname: v\n"),
        [
            "w.yaml:4:1: this is no YAML: there is a second document ('---') in the file; write one definition in a file",
        ],
    ),
    "step_twice": (
        ("name: w\nsteps:\n  a: {skill: x}\n  b: {skill: x}\n  a: {skill: y}\n"),
        [
            "w.yaml:5:3: steps.a: 'a' stands here a second time; the first is on line 3",
        ],
    ),
    "field_twice": (
        ("name: w\nsteps:\n  a:\n    skill: x\n    skill: y\n"),
        [
            "w.yaml:5:5: steps.a.skill: 'skill' stands here a second time; the first is on line 4",
        ],
    ),
    "tag": (
        ("name: !!python/object:os.system w\nsteps:\n  a: {skill: x.y}\n"),
        [
            "w.yaml:1:7: name: the tag 'tag:yaml.org,2002:python/object:os.system' makes nothing here",
        ],
    ),
    "unknown_anchor": (
        ("name: w\nsteps:\n  a: *base\n"),
        [
            "w.yaml:3:6: this is no YAML: there is no anchor of this name above",
        ],
    ),
    "merge_key": (
        ("name: w\nsteps:\n  a: &base {skill: x}\n  b:\n    <<: *base\n"),
        [
            "w.yaml:5:5: steps.b: merge keys (<<) are not read; write the fields out, or give an anchor a whole value",
            "w.yaml:5:5: steps.b: says nothing to do: give it one of skill, gate, sleep, workflow",
        ],
    ),
    "anchor_in_itself": (
        ("name: w\nsteps: &all\n  a: *all\n"),
        [
            "w.yaml:2:8: steps.a: an anchor holds itself",
        ],
    ),
    "unquoted_expression_as_key": (
        ("name: w\nsteps:\n  a:\n    skill: x\n    with: {${inputs.x}}\n"),
        [
            "w.yaml:5:13: this is no YAML: a bracket is not closed here; quote an expression that stands in brackets: '${...}'",
        ],
    ),
    "no_name": (
        ("steps:\n  a: {skill: x.y}\n"),
        [
            "w.yaml:1:1: name: 'name' is missing",
        ],
    ),
    "no_steps": (
        ("name: w\n"),
        [
            "w.yaml:1:1: steps: 'steps' is missing",
        ],
    ),
    "steps_empty": (
        ("name: w\nsteps: {}\n"),
        [
            "w.yaml:2:8: steps: is empty; a workflow has at least one step",
        ],
    ),
    "name_in_snake_case": (
        ("name: My_Workflow\nsteps:\n  a: {skill: x.y}\n"),
        [
            "w.yaml:1:7: name: 'My_Workflow' is no name here; write it in kebab-case: 'my-workflow'",
        ],
    ),
    "step_in_kebab_case": (
        ("name: w\nsteps:\n  build-it: {skill: x}\n"),
        [
            "w.yaml:3:3: steps.build-it: 'build-it' is no name here; write it in snake_case: 'build_it'",
        ],
    ),
    "unknown_field": (
        ("name: w\nsteps:\n  a: {skil: x}\n"),
        [
            "w.yaml:3:7: steps.a.skil: there is no field 'skil'; did you mean 'skill'?",
        ],
    ),
    "field_of_another_system": (
        ("name: w\nsteps:\n  a: {skill: x}\n  b: {skill: x, depends_on: [a]}\n"),
        [
            "w.yaml:4:17: steps.b.depends_on: there is no field 'depends_on'; here it is called 'needs'",
        ],
    ),
    "unknown_top_field": (
        ("name: w\nversion: 2\nsteps:\n  a: {skill: x.y}\n"),
        [
            "w.yaml:2:1: version: there is no field 'version'; there are name, description, inputs, outputs, budget, timebox, phases, steps",
        ],
    ),
    "name_in_python": (
        ("name: w\nsteps:\n  a: {skill: x, with_: {b: 1}}\n"),
        [
            "w.yaml:3:17: steps.a.with_: there is no field 'with_'; did you mean 'with'?",
        ],
    ),
    "wrong_type": (
        ("name: w\nsteps:\n  a: {skill: 3, max_parallel: many, with: [1]}\n"),
        [
            "w.yaml:3:14: steps.a.skill: is 3, and has to be text",
            "w.yaml:3:31: steps.a.max_parallel: is 'many', and has to be a whole number",
            "w.yaml:3:43: steps.a.with: is [1], and has to be a mapping",
        ],
    ),
    "nothing_to_do": (
        ("name: w\nsteps:\n  a: {needs: []}\n"),
        [
            "w.yaml:3:6: steps.a: says nothing to do: give it one of skill, gate, sleep, workflow",
        ],
    ),
    "two_things_to_do": (
        ("name: w\nsteps:\n  a: {skill: x, sleep: 1h}\n"),
        [
            "w.yaml:3:6: steps.a: is one thing, not skill and sleep: make a step of each",
        ],
    ),
    "unknown_gate": (
        ("name: w\nsteps:\n  a: {gate: aproval}\n"),
        [
            "w.yaml:3:13: steps.a.gate: is 'aproval', not one of approval, check, signal; did you mean 'approval'?",
        ],
    ),
    "check_without_check": (
        ("name: w\nsteps:\n  a: {gate: check}\n"),
        [
            "w.yaml:3:6: steps.a: a gate of check needs 'check': an expression that must be true",
        ],
    ),
    "signal_without_name": (
        ("name: w\nsteps:\n  a: {gate: signal, timeout: 1h}\n"),
        [
            "w.yaml:3:6: steps.a: a gate of signal needs 'signal': the name that is awaited",
        ],
    ),
    "field_without_meaning": (
        (
            "name: w\n"
            "steps:\n"
            "  a: {gate: approval, retry: 3, signal: go}\n"
            "  b: {skill: x, timeout: 3h}\n"
            "  c: {sleep: 1h, on_failure: continue}\n"
        ),
        [
            "w.yaml:3:30: steps.a.retry: has no meaning for a gate of approval",
            "w.yaml:3:41: steps.a.signal: has no meaning for a gate of approval",
            "w.yaml:4:26: steps.b.timeout: has no meaning for a step with 'skill'; 'timebox' bounds what it takes",
            "w.yaml:5:30: steps.c.on_failure: has no meaning for a step with 'sleep'",
        ],
    ),
    "max_parallel_without_foreach": (
        ("name: w\nsteps:\n  a: {skill: x, max_parallel: 3}\n"),
        [
            "w.yaml:3:31: steps.a.max_parallel: has no meaning without 'foreach'",
        ],
    ),
    "bad_durations": (
        ("name: w\ntimebox: soon\nsteps:\n  a: {skill: x, timebox: -5}\n  b: {sleep: 5 parsecs}\n"),
        [
            "w.yaml:2:10: timebox: 'soon' is no length of time; write seconds, or text such as '90s', '6h' or '1d 12h'",
            "w.yaml:4:26: steps.a.timebox: -5 is too short; it lasts longer than nothing",
            "w.yaml:5:14: steps.b.sleep: '5 parsecs' is no length of time; write seconds, or text such as '90s', '6h' or '1d 12h'",
        ],
    ),
    "bad_money": (
        ("name: w\nbudget: cheap\nsteps:\n  a: {skill: x, reserve: {cost: -1, tokens: 1.5, euros: 3}}\n"),
        [
            "w.yaml:2:9: budget.cost: 'cheap' is no amount of money; write a number of 0 or more, such as '5.00'",
            "w.yaml:4:33: steps.a.reserve.cost: -1 is no amount of money; write a number of 0 or more, such as '5.00'",
            "w.yaml:4:45: steps.a.reserve.tokens: is 1.5, and has to be a whole number",
            "w.yaml:4:50: steps.a.reserve.euros: there is no field 'euros'; there are cost, tokens",
        ],
    ),
    "bad_retry": (
        ("name: w\nsteps:\n  a: {skill: x, retry: {times: 3}}\n  b: {skill: x, retry: -1}\n"),
        [
            "w.yaml:3:25: steps.a.retry.times: there is no field 'times'; did you mean 'retries'?",
            "w.yaml:4:24: steps.b.retry.retries: is -1, and has to be at least 0",
        ],
    ),
    "bad_on_failure": (
        ("name: w\nsteps:\n  a: {skill: x, on_failure: contine}\n  b: {skill: x, on_failure: {fallbak: y}}\n"),
        [
            "w.yaml:3:29: steps.a.on_failure: is 'contine', not halt, continue or {fallback: SKILL}; did you mean 'continue'?",
            "w.yaml:4:17: steps.b.on_failure.fallback: 'fallback' is missing",
            "w.yaml:4:30: steps.b.on_failure.fallbak: there is no field 'fallbak'; did you mean 'fallback'?",
        ],
    ),
    "priority_too_high": (
        ("name: w\nsteps:\n  a: {skill: x, priority: 99999}\n"),
        [
            "w.yaml:3:27: steps.a.priority: is 99999, and has to be at most 32,767",
        ],
    ),
    "input_of_no_type": (
        ("name: w\ninputs:\n  a: {}\n  b: {type: string}\nsteps:\n  a: {skill: x.y}\n"),
        [
            "w.yaml:3:3: inputs.a.type: 'type' is missing",
            "w.yaml:4:13: inputs.b.type: is 'string', not one of text, integer, number, boolean, list, object",
        ],
    ),
    "default_that_does_not_fit": (
        (
            "name: w\n"
            "inputs:\n"
            "  a: {type: integer, default: many}\n"
            "  b: {type: text, default: x, required: true}\n"
            "steps:\n"
            "  a: {skill: x.y}\n"
        ),
        [
            "w.yaml:3:31: inputs.a.default: is 'many', which is not an integer",
            "w.yaml:4:6: inputs.b: an input with a default is never missing: leave 'required' out",
        ],
    ),
    "unknown_need": (
        ("name: w\nsteps:\n  extract: {skill: x}\n  load: {skill: x, needs: [exract, extract, extract, load]}\n"),
        [
            "w.yaml:4:28: steps.load.needs[0]: there is no step 'exract'; did you mean 'extract'?",
            "w.yaml:4:45: steps.load.needs[2]: step 'extract' is listed twice",
            "w.yaml:4:54: steps.load.needs[3]: step 'load' needs itself",
        ],
    ),
    "unknown_phase": (
        ("name: w\nphases: {harvest: {}}\nsteps:\n  a: {skill: x, phase: harvets}\n  b: {skill: x, phase: harvest}\n"),
        [
            "w.yaml:4:24: steps.a.phase: there is no phase 'harvets'; did you mean 'harvest'?",
        ],
    ),
    "unknown_step_in_expression": (
        ("name: w\nsteps:\n  extract: {skill: x}\n  load: {skill: x, with: {blocks: '${steps.exract.blocks}'}}\n"),
        [
            "w.yaml:4:35: steps.load.with.blocks: in ${steps.exract.blocks}: there is no step 'exract'; did you mean 'extract'?",
        ],
    ),
    "unknown_input": (
        (
            "name: w\n"
            "inputs: {source: {type: text}}\n"
            "steps:\n"
            "  a: {skill: x, with: {deep: [{s: 'from ${inputs.sorce}'}]}}\n"
        ),
        [
            "w.yaml:4:35: steps.a.with.deep[0].s: in ${inputs.sorce}: there is no input 'sorce'; did you mean 'source'?",
        ],
    ),
    "field_of_a_text": (
        ("name: w\ninputs: {source: {type: text}}\nsteps:\n  a: {skill: x, with: {s: '${inputs.source.path}'}}\n"),
        [
            "w.yaml:4:27: steps.a.with.s: in ${inputs.source.path}: inputs.source is text, and has no field 'path'",
        ],
    ),
    "field_of_a_list_of_results": (
        ("name: w\nsteps:\n  a: {skill: x, foreach: [1, 2]}\n  b: {skill: x, with: {p: '${steps.a.path}'}}\n"),
        [
            "w.yaml:4:27: steps.b.with.p: in ${steps.a.path}: steps.a is a list, and has no field 'path'; take one entry of it first: [0]",
        ],
    ),
    "field_of_a_sleep": (
        ("name: w\nsteps:\n  a: {sleep: 1h}\n  b: {skill: x, with: {p: '${steps.a.path}'}}\n"),
        [
            "w.yaml:4:27: steps.b.with.p: in ${steps.a.path}: steps.a is always null, and has no field 'path'",
        ],
    ),
    "unknown_field_of_the_run": (
        ("name: w\nsteps:\n  a: {skill: x, with: {k: 'k-${run.ids}'}}\n"),
        [
            "w.yaml:3:27: steps.a.with.k: in ${run.ids}: run has no field 'ids'; did you mean 'id'?",
        ],
    ),
    "key_that_is_known_too_late": (
        ("name: w\nsteps:\n  a: {skill: x}\n  b: {skill: x, key: 'k-${steps.a}'}\n"),
        [
            "w.yaml:4:22: steps.b.key: is known when the run opens, so it may name inputs, and not steps",
        ],
    ),
    "item_outside_foreach": (
        ("name: w\nsteps:\n  a: {skill: x, with: {p: '${item}'}}\n  b: {skill: x, foreach: '${item}'}\n"),
        [
            "w.yaml:3:27: steps.a.with.p: in ${item}: 'item' is only known in a step with foreach, in what is done for each entry",
            "w.yaml:4:26: steps.b.foreach: in ${item}: 'item' is only known in a step with foreach, in what is done for each entry",
        ],
    ),
    "own_name": (
        ("name: w\nsteps:\n  a: {skill: x, with: {p: '${steps.a}'}}\n"),
        [
            "w.yaml:3:27: steps.a.with.p: ${steps.a} names the step that it belongs to",
        ],
    ),
    "open_brace": (
        ("name: w\nsteps:\n  a: {skill: x, with: {p: 'echo ${HOME'}}\n"),
        [
            "w.yaml:3:27: steps.a.with.p: the expression ${HOME} cannot be read: it has no closing brace; write $${ for text that is to stay",
        ],
    ),
    "shell_variable": (
        ("name: w\nsteps:\n  a: {skill: x, with: {p: 'echo ${HOME}'}}\n"),
        [
            "w.yaml:3:27: steps.a.with.p: the expression ${HOME} cannot be read: nothing is called 'HOME'; it knows inputs, steps, run, item, index; write $${ for text that is to stay",
        ],
    ),
    "other_operators": (
        ("name: w\nsteps:\n  a: {skill: x}\n  b: {skill: x, when: '${steps.a.ok && !steps.a.late}'}\n"),
        [
            "w.yaml:4:23: steps.b.when: the expression ${steps.a.ok && !steps.a.late} cannot be read: '&' at character 12 has no meaning here; write 'and'",
        ],
    ),
    "unknown_function": (
        ("name: w\nsteps:\n  a: {skill: x}\n  b: {skill: x, when: '${sise(steps.a) > 0}'}\n"),
        [
            "w.yaml:4:23: steps.b.when: the expression ${sise(steps.a) > 0} cannot be read: there is no function 'sise'; did you mean 'size'?",
        ],
    ),
    "bare_condition": (
        ("name: w\nsteps:\n  a: {skill: x}\n  b: {skill: x, when: steps.a.ok}\n"),
        [
            "w.yaml:4:23: steps.b.when: 'steps.a.ok' is no expression; write ${steps.a.ok}",
        ],
    ),
    "condition_in_text": (
        ("name: w\nsteps:\n  a: {skill: x}\n  b: {skill: x, when: 'if ${steps.a.ok}'}\n"),
        [
            "w.yaml:4:23: steps.b.when: 'if ${steps.a.ok}' is no expression; write one ${...} with nothing around it",
        ],
    ),
    "condition_that_is_a_number": (
        (
            "name: w\n"
            "steps:\n"
            "  a: {skill: x}\n"
            "  b: {skill: x, when: '${size(steps.a)}'}\n"
            "  c: {skill: x, when: '${size(steps.a) and true}'}\n"
        ),
        [
            "w.yaml:4:23: steps.b.when: ${size(steps.a)} is a whole number, and has to be true or false",
            "w.yaml:5:23: steps.c.when: in ${size(steps.a) and true}: size(steps.a) is a whole number, and has to be true or false",
        ],
    ),
    "foreach_over_text": (
        (
            "name: w\n"
            "inputs: {names: {type: text}}\n"
            "steps:\n"
            "  a: {skill: x, foreach: '${inputs.names}'}\n"
            "  b: {skill: x, foreach: []}\n"
            "  c: {skill: x, foreach: 3}\n"
        ),
        [
            "w.yaml:4:26: steps.a.foreach: ${inputs.names} is text, and has to be a list",
            "w.yaml:5:26: steps.b.foreach: the list is empty: the step would never be done",
            "w.yaml:6:26: steps.c.foreach: 3 is no expression; write one between ${ and }",
        ],
    ),
    "circle": (
        (
            "name: w\n"
            "steps:\n"
            "  a: {skill: x, needs: c}\n"
            "  b: {skill: x, with: {v: '${steps.a}'}}\n"
            "  c: {skill: x, needs: [b]}\n"
            "  d: {skill: x, needs: [c]}\n"
        ),
        [
            "w.yaml:3:3: steps.a: steps need each other in a circle: a needs c needs b needs a",
        ],
    ),
    "two_circles": (
        (
            "name: w\n"
            "steps:\n"
            "  a: {skill: x, needs: b}\n"
            "  b: {skill: x, needs: a}\n"
            "  c: {skill: x, needs: d}\n"
            "  d: {skill: x, needs: c}\n"
        ),
        [
            "w.yaml:3:3: steps.a: steps need each other in a circle: a needs b needs a",
            "w.yaml:5:3: steps.c: steps need each other in a circle: c needs d needs c",
        ],
    ),
    "never_done": (
        (
            "name: w\n"
            "steps:\n"
            "  a: {skill: x, when: false}\n"
            "  b: {skill: x, when: '${1 > 2}'}\n"
            "  c: {gate: check, check: '${false}'}\n"
        ),
        [
            "w.yaml:3:23: steps.a.when: is never true: step 'a' would never be done",
            "w.yaml:4:23: steps.b.when: is never true: step 'b' would never be done",
            "w.yaml:5:27: steps.c.check: is never true: no run could pass this gate",
        ],
    ),
    "reserve_over_budget": (
        (
            "name: w\n"
            "budget: 5\n"
            "phases: {p: {budget: 2}}\n"
            "steps:\n"
            "  a: {skill: x, reserve: '5.01'}\n"
            "  b: {skill: x, reserve: 3, phase: p}\n"
        ),
        [
            "w.yaml:5:26: steps.a.reserve: reserves 5.01, more than the budget of 5.00: it could never begin",
            "w.yaml:6:26: steps.b.reserve: reserves 3.00, more than the budget of 2.00: it could never begin",
        ],
    ),
    "phases_over_budget": (
        (
            "name: w\n"
            "budget: {cost: 5, tokens: 100}\n"
            "phases: {p: {budget: {cost: 3, tokens: 60}}, q: {budget: {cost: '2.5', tokens: 50}}}\n"
            "steps:\n"
            "  a: {skill: x, phase: p}\n"
            "  b: {skill: x, phase: q}\n"
        ),
        [
            "w.yaml:3:1: phases: the phases' budgets come to 5.50, more than the workflow's 5.00",
            "w.yaml:3:1: phases: the phases' budgets come to 110 tokens, more than the workflow's 100 tokens",
        ],
    ),
    "nobody": (
        ("name: w\nsteps:\n  a: {gate: approval, who: ['team/leads', 3]}\n  b: {gate: approval, who: 'a, b'}\n"),
        [
            'w.yaml:3:28: steps.a.who: ["team/leads",3] is no name and no list of names',
            "w.yaml:4:28: steps.b.who[0]: 'a, b' is no name of a user, nor 'group:NAME'",
        ],
    ),
    "unknown_output": (
        ("name: w\nsteps:\n  a: {skill: x}\noutputs: {r: '${steps.b.r}'}\n"),
        [
            "w.yaml:4:14: outputs.r: in ${steps.b.r}: there is no step 'b'",
        ],
    ),
    "several_at_once": (
        (
            "name: w\n"
            "steps:\n"
            "  extract: {skill: x, retri: 3}\n"
            "  load: {skill: x, needs: [exract], timebox: soon, with: {a: '${inputs.a}'}}\n"
        ),
        [
            "w.yaml:3:23: steps.extract.retri: there is no field 'retri'; did you mean 'retry'?",
            "w.yaml:4:28: steps.load.needs[0]: there is no step 'exract'; did you mean 'extract'?",
            "w.yaml:4:46: steps.load.timebox: 'soon' is no length of time; write seconds, or text such as '90s', '6h' or '1d 12h'",
            "w.yaml:4:62: steps.load.with.a: in ${inputs.a}: there is no input 'a'; there are none",
        ],
    ),
    "steps_as_a_list": (
        ("name: w\nsteps:\n  - skill: x\n"),
        [
            'w.yaml:3:3: steps: is [{"skill":"x"}], and has to be a mapping',
        ],
    ),
    "step_as_text": (
        ("name: w\nsteps:\n  a: x.y\n"),
        [
            "w.yaml:3:6: steps.a: is 'x.y', and has to be a mapping",
        ],
    ),
    "nothing_in_a_step": (
        ("name: w\nsteps:\n  a:\n"),
        [
            "w.yaml:3:5: steps.a: is null, and has to be a mapping",
        ],
    ),
    "signal_expr": (
        ("name: w\nsteps:\n  a: {gate: signal, signal: 'x-${steps.b}'}\n"),
        [
            "w.yaml:3:29: steps.a.signal: in ${steps.b}: there is no step 'b'",
        ],
    ),
    "number_too_large": (
        ("name: w\nsteps:\n  a: {skill: x, with: {a: 1e999}}\n"),
        [
            "w.yaml:3:27: steps.a.with.a: the number is too large",
        ],
    ),
    "control": (
        ("name: w\x07\nsteps:\n  a: {skill: x.y}\n"),
        [
            "w.yaml:1:8: this is no YAML: there is a character that cannot be printed",
        ],
    ),
}
