// The inbox by keyboard: one matter is chosen, letters decide it; a refresh keeps the choice, the focus and what is unfolded.
"use strict";

(() => {
    const CHOSEN = "inbox-chosen";
    const dialog = document.getElementById("inbox-dialog");
    const keys = document.getElementById("inbox-keys");
    const matters = () => [...document.querySelectorAll(".inbox-matter")];
    const chosen = () => document.querySelector(".inbox-matter.is-chosen");
    let focused = "";

    function choose(matter, { isFocused = true } = {}) {
        chosen()?.classList.remove("is-chosen");
        if (!matter) return;
        matter.classList.add("is-chosen");
        sessionStorage.setItem(CHOSEN, JSON.stringify([matter.id, matters().indexOf(matter)]));
        if (!isFocused) return;
        matter.focus({ preventScroll: true });
        matter.scrollIntoView({ block: "nearest" });
    }

    /** Choose what was chosen before; where it has gone, what stands in its place now. */
    function chooseAgain() {
        const [id, place] = JSON.parse(sessionStorage.getItem(CHOSEN) ?? '["", 0]');
        const all = matters();
        choose(document.getElementById(id) ?? all[Math.min(place, all.length - 1)], { isFocused: false });
    }

    function move(steps) {
        const all = matters();
        const place = all.indexOf(chosen());
        choose(all[Math.max(0, Math.min(all.length - 1, place < 0 ? 0 : place + steps))]);
    }

    /** Ask in a dialog what the form of a matter would ask on a page of its own. */
    async function ask(form, button) {
        const query = new URLSearchParams(new FormData(form, button));
        const answer = await fetch(`${form.action}?${query}`, { headers: { "HX-Request": "true" } });
        if (!answer.ok || answer.redirected) return window.location.assign(answer.redirected ? answer.url : `${form.action}?${query}`);
        dialog.innerHTML = await answer.text();
        dialog.dataset.opener = button.id;
        dialog.showModal();
        const first = dialog.querySelector("[autofocus], textarea, input:not([type=hidden]), select");
        first?.focus();
        first?.select?.();
    }

    const PLAIN = {
        j: () => move(1),
        k: () => move(-1),
        ArrowDown: () => move(1),
        ArrowUp: () => move(-1),
        e: () => chosen()?.querySelector("details")?.toggleAttribute("open"),
        o: () => chosen()?.querySelector('.inbox-facts a[href*="/run/"]')?.click(),
        u: () => document.getElementById("inbox-undo")?.click(),
        "?": () => keys.showModal(),
    };

    function decide(event) {
        const letter = event.key.toLowerCase();
        const place = event.shiftKey ? document.querySelector(".inbox-bulk") : chosen();
        const button = place?.querySelector(`button[data-letter="${CSS.escape(letter)}"]`);
        if (button) return button.click();
        if (event.shiftKey) chosen()?.querySelector(".inbox-alike")?.click();
    }

    document.addEventListener("keydown", (event) => {
        if (dialog.open && event.key === "Enter" && (event.ctrlKey || event.metaKey)) return dialog.querySelector("form").requestSubmit();
        const isTyping = event.target.matches("input, textarea, select") || dialog.open || keys.open;
        if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
        const isLink = event.key.startsWith("Arrow") && !event.target.matches("body, .inbox-matter");
        if (event.key in PLAIN && !isLink) {
            event.preventDefault();
            return PLAIN[event.key]();
        }
        if (/^[a-zA-Z]$/.test(event.key)) decide(event);
    });

    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (form.dataset.ask === undefined) return;
        event.preventDefault();
        const matter = form.closest(".inbox-matter");
        if (matter) choose(matter, { isFocused: false });
        ask(form, event.submitter);
    });

    document.addEventListener("click", (event) => {
        if (event.target.closest("#inbox-help")) keys.showModal();
        if (event.target.closest("#inbox-dialog [data-close]")) {
            event.preventDefault();
            dialog.close();
        }
        const matter = event.target.closest(".inbox-matter");
        if (matter) choose(matter, { isFocused: false });
    });

    dialog.addEventListener("close", () => document.getElementById(dialog.dataset.opener)?.focus());

    document.addEventListener("htmx:beforeSwap", (event) => {
        if (event.target.id === "inbox") focused = document.activeElement?.closest("#inbox") ? document.activeElement.id : "";
    });
    document.addEventListener("htmx:afterSettle", () => {
        if (!chosen()) chooseAgain();
        if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
        focused = "";
    });

    chooseAgain();
})();
