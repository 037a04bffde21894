"""`manage.py workflow VERB`: check, draw, compare, register and run definitions of workflows.

The verbs that look only at files need no database.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from execution import words
from execution.management.commands import start
from execution.management.commands._command import operator, table, yaml_files
from execution.management.commands._verbs import VerbsCommand
from execution.workflows import catalog, differences, known, mermaid, reading, spec, starters, svg
from execution.workflows.reading import Finding, Read

_FORMATS = {"mermaid": mermaid.text, "svg": svg.text}


class Command(VerbsCommand):
    help = "Check, draw, compare, register and run definitions of workflows, which are YAML files."
    requires_system_checks = ()

    def add_verbs(self, verbs: Any) -> None:
        self._add_validate(verbs)
        self._add_graph(verbs)
        schema = self.add_verb(verbs, "schema", "Print the JSON Schema of definitions, for editors.")
        schema.add_argument("--output", help="The file to write; standard output unless given.")
        new = self.add_verb(verbs, "new", "Write an example with comments, to go on from.")
        new.add_argument("name", help="The workflow's name, in kebab-case.")
        new.add_argument(
            "--template", choices=starters.names(), default="chain", help="Which example; chain unless given."
        )
        new.add_argument("--output", help="The file to write; NAME.yaml here unless given. None is written over.")
        diff = self.add_verb(verbs, "diff", "Say in words what changed from one definition to another.")
        diff.add_argument("which", nargs="+", metavar="A B | NAME V1 V2", help="Two files, or a name and two versions.")
        load = self.add_verb(verbs, "load", "Register definitions: each changed one gets the next version.")
        load.add_argument("files", nargs="+", metavar="DIR", help="A folder of .yaml files, or a file.")
        load.add_argument("--by", default=operator(), help="Who; the user of the system unless given.")
        self.add_verb(verbs, "list", "List the workflows that can be run, with their newest versions.")
        run = self.add_verb(verbs, "run", "Open a run of a workflow and print its id.")
        run.add_argument("name", help="The workflow's name; NAME@3 is its third version.")
        start.Command().add_options(run)

    def _add_validate(self, verbs: Any) -> None:
        validate = self.add_verb(verbs, "validate", "Say what is wrong with definitions, each with its line and field.")
        validate.add_argument("files", nargs="+", metavar="FILE", help="A file, or a folder of .yaml files.")
        validate.add_argument(
            "--strict", action="store_true", help="Let notes, such as a skill nobody knows, fail too."
        )
        validate.add_argument(
            "--without-skills", action="store_true", help="Do not ask which skills this process knows."
        )

    def _add_graph(self, verbs: Any) -> None:
        graph = self.add_verb(verbs, "graph", "Draw the steps and what they need.")
        graph.add_argument("file", metavar="FILE", help="The file.")
        graph.add_argument("--format", choices=list(_FORMATS), default="mermaid", help="mermaid unless given.")
        graph.add_argument("--output", help="The file to write; standard output unless given.")

    def _validate(self, options: dict[str, Any]) -> None:
        found = _together(yaml_files(options["files"]), with_skills=not options["without_skills"])
        if options["strict"]:
            found = {file: _strict(one) for file, one in found.items()}
        bad = [file for file, one in found.items() if one.errors]
        if options["as_json"]:
            self.document({"is_valid": not bad, "files": [_row(file, one) for file, one in found.items()]})
        else:
            self._say_findings(found)
        if bad:
            raise CommandError(f"{words.counted(len(bad), 'file')} of {len(found):,} cannot be used")

    def _say_findings(self, found: dict[str, Read]) -> None:
        for file, one in found.items():
            for finding in one.findings:
                self.say(str(finding))
            if one.definition is not None and not one.errors:
                steps = words.counted(len(one.definition.steps), "step")
                self.say(f"{file}: {one.definition.name} is right: {steps}, digest {one.definition.digest[:12]}")

    def _graph(self, options: dict[str, Any]) -> None:
        definition = reading.load(options["file"])
        text = _FORMATS[options["format"]](definition)
        if options["as_json"] and not options["output"]:
            facts = {"name": definition.name, "digest": definition.digest, "needs": definition.needs}
            self.document({**facts, "format": options["format"], "text": text})
            return
        self._hand_over(text, options)

    def _schema(self, options: dict[str, Any]) -> None:
        self._hand_over(_json(spec.schema()), options)

    def _new(self, options: dict[str, Any]) -> None:
        name = options["name"]
        text = starters.text(options["template"], name)
        reading.read(text, file=name)
        path = Path(options["output"] or f"{name}.yaml")
        _write(path, text, is_new=True)
        if options["as_json"]:
            self.document({"file": str(path), "template": options["template"]})
            return
        self.say(f"{path} is written; `manage.py workflow validate {path}` checks it")

    def _load(self, options: dict[str, Any]) -> None:
        found = catalog.load(yaml_files(options["files"]), by=options["by"])
        if options["as_json"]:
            self.document([_stored_row(one) for one in found])
            return
        for one in found:
            self.say(f"{one.name} is version {one.number}: {words.counted(len(one.definition.steps), 'step')}")

    def _list(self, options: dict[str, Any]) -> None:
        found = [catalog.find(name) for name in catalog.names()]
        if options["as_json"]:
            self.document([_stored_row(one) for one in found])
            return
        rows = [[one.name, one.version, f"{len(one.definition.steps):,}", one.definition.description] for one in found]
        self.say(table(rows, ["NAME", "VERSION", "STEPS", "WHAT IT IS FOR"]))

    def _run(self, options: dict[str, Any]) -> None:
        command = _Run()
        command.stdout, command.stderr = self.stdout, self.stderr
        command.act(**options)

    def _diff(self, options: dict[str, Any]) -> None:
        before, after = _compared(options["which"])
        found = differences.between(before, after)
        if options["as_json"]:
            digests = {"old": before.digest, "new": after.digest}
            self.document({**digests, "is_same": not found, "differences": [asdict(one) for one in found]})
            return
        for one in found:
            self.say(one.text)
        if not found:
            self.say(f"nothing changed: both have the digest {after.digest[:12]}")

    def _hand_over(self, text: str, options: dict[str, Any]) -> None:
        """Write a text to the file that was asked for, or print it."""
        if not options["output"]:
            self.stdout.write(text, ending="")
            return
        _write(Path(options["output"]), text)
        if options["as_json"]:
            self.document({"file": options["output"]})
        else:
            self.say(f"{options['output']} is written")


class _Run(start.Command):
    """Opens a run of a workflow alone: a skill of the same name is not meant."""

    def found(self, name: str) -> Any:
        return catalog.find(name)


def _compared(which: list[str]) -> tuple[spec.Definition, spec.Definition]:
    """Return the two definitions that are compared: two files, or two versions of a name."""
    if len(which) == 2:
        return reading.load(which[0]), reading.load(which[1])
    if len(which) != 3:
        raise CommandError("diff compares two files (A.yaml B.yaml), or two versions of a workflow (NAME 1 2)")
    return catalog.find(f"{which[0]}@{which[1]}").definition, catalog.find(f"{which[0]}@{which[2]}").definition


def _stored_row(one: catalog.Stored) -> dict[str, Any]:
    about = one.definition
    return {
        "name": one.name,
        "version": one.number,
        "digest": about.digest,
        "step_count": len(about.steps),
        "inputs": {name: wanted.as_data() for name, wanted in about.inputs.items()},
        "description": about.description,
    }


def _together(files: list[str], *, with_skills: bool) -> dict[str, Read]:
    """Read files so that each knows the workflows of the others, and, where wanted, the skills of this process."""
    alone = {file: reading.look_at(file) for file in files}
    workflows = {one.definition.name: one.definition for one in alone.values() if one.definition is not None}
    around = known.of_this_process(catalog.shipped() | workflows) if with_skills else known.Known(workflows=workflows)
    found, homes = {}, dict[str, str]()
    for file in files:
        one = reading.look_at(file, around)
        name = one.definition.name if one.definition is not None else ""
        if name and homes.setdefault(name, file) != file:
            one = _with_twin(one, file, homes[name])
        found[file] = one
    return found


def _with_twin(one: Read, file: str, first: str) -> Read:
    text = f"workflow {one.definition.name!r} is defined in {first} too" if one.definition is not None else ""
    twin = Finding(file=file, line=1, column=1, path="name", text=text)
    return Read(definition=None, findings=(twin, *one.findings))


def _strict(one: Read) -> Read:
    return replace(one, findings=tuple(replace(finding, is_error=True) for finding in one.findings))


def _row(file: str, one: Read) -> dict[str, Any]:
    definition = one.definition if not one.errors else None
    return {
        "file": file,
        "is_valid": definition is not None,
        "name": definition.name if definition is not None else None,
        "digest": definition.digest if definition is not None else None,
        "step_count": len(definition.steps) if definition is not None else None,
        "findings": [asdict(finding) for finding in one.findings],
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str, *, is_new: bool = False) -> None:
    try:
        with path.open("x" if is_new else "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"{path} exists, and is not written over; name another with --output") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None
