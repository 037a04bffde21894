// The picture of a graph: it is zoomed and moved by mouse and keyboard, and keeps its place while it is drawn anew.
"use strict";

/** A graph's window: which part of the picture is seen. It is kept while its part of the page is drawn anew. */
const roomWindows = new Map();

function roomShowGraph(canvas) {
    const picture = canvas.querySelector("svg.room-graph");
    const whole = { width: +picture.dataset.width, height: +picture.dataset.height };
    const seen = roomWindows.get(canvas.dataset.graph) ?? roomFirstWindow(canvas, picture, whole);
    roomWindows.set(canvas.dataset.graph, seen);
    canvas.style.height = `${seen.tall}px`;
    picture.style.height = "100%";
    const width = canvas.clientWidth / seen.scale, height = seen.tall / seen.scale;
    picture.setAttribute("viewBox", `${seen.x} ${seen.y} ${width} ${height}`);
}

/** Begin with all of a small graph; with a large one where something happens. */
function roomFirstWindow(canvas, picture, whole) {
    const fit = Math.min(1, canvas.clientWidth / whole.width);
    const scale = Math.max(fit, .55), tall = Math.min(Math.max(whole.height * scale, 96), 460);
    const seen = { scale, tall, x: 0, y: Math.max(0, (whole.height - tall / scale) / 2) };
    if (fit === 1) seen.x = (whole.width - canvas.clientWidth) / 2;
    const place = picture.querySelector("g.is-running, g.is-failed, g.is-parked, g.is-waiting, g.is-ready")?.getAttribute("transform")?.match(/-?[\d.]+/g);
    if (scale > fit && place) seen.x = Math.max(0, +place[0] - canvas.clientWidth / scale / 3);
    if (whole.height * scale > tall && place) seen.y = Math.max(0, +place[1] - tall / scale / 2);
    return seen;
}

function roomZoom(canvas, factor, x, y) {
    const seen = roomWindows.get(canvas.dataset.graph), scale = Math.min(Math.max(seen.scale * factor, .01), 3);
    seen.x += x / seen.scale - x / scale;
    seen.y += y / seen.scale - y / scale;
    seen.scale = scale;
    roomShowGraph(canvas);
}

function roomMove(canvas, x, y) {
    const seen = roomWindows.get(canvas.dataset.graph);
    seen.x -= x / seen.scale;
    seen.y -= y / seen.scale;
    roomShowGraph(canvas);
}

function roomShowAll(canvas) {
    const { width, height } = canvas.querySelector("svg.room-graph").dataset, seen = roomWindows.get(canvas.dataset.graph);
    seen.scale = Math.max(Math.min(1, canvas.clientWidth / width, seen.tall / height), .02);
    seen.x = (width - canvas.clientWidth / seen.scale) / 2;
    seen.y = (height - seen.tall / seen.scale) / 2;
    roomShowGraph(canvas);
}

const roomKeys = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

document.addEventListener("keydown", (event) => {
    const canvas = event.target;
    if (canvas.dataset?.graph === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in roomKeys) roomMove(canvas, ...roomKeys[event.key]);
    else if (event.key === "+" || event.key === "-") roomZoom(canvas, event.key === "+" ? 1.25 : .8, canvas.clientWidth / 2, canvas.clientHeight / 2);
    else if (event.key === "0") roomShowAll(canvas);
    else return;
    event.preventDefault();
});

document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]"), canvas = button?.closest("[data-graph]");
    if (!canvas) return;
    if (button.dataset.zoom === "all") roomShowAll(canvas);
    else roomZoom(canvas, button.dataset.zoom === "in" ? 1.4 : 1 / 1.4, canvas.clientWidth / 2, canvas.clientHeight / 2);
});

document.addEventListener("wheel", (event) => {
    const canvas = event.target.closest?.("[data-graph]");
    if (!canvas || !event.ctrlKey) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    roomZoom(canvas, Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

/** Dragging moves the picture, and is no click on the step below. */
document.addEventListener("pointerdown", (event) => {
    const canvas = event.target.closest?.("[data-graph]");
    if (!canvas || event.button || event.target.closest("[data-zoom]")) return;
    let last = event, far = 0;
    const move = (next) => {
        far += Math.abs(next.clientX - last.clientX) + Math.abs(next.clientY - last.clientY);
        if (far > 4) canvas.classList.add("is-held");
        roomMove(canvas, next.clientX - last.clientX, next.clientY - last.clientY);
        last = next;
    };
    const stop = () => {
        document.removeEventListener("pointermove", move);
        canvas.classList.remove("is-held");
        if (far <= 4) return;
        const swallow = (click) => { click.preventDefault(); click.stopPropagation(); };
        document.addEventListener("click", swallow, { capture: true, once: true });
        setTimeout(() => document.removeEventListener("click", swallow, { capture: true }), 0);
    };
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", stop, { once: true });
    document.addEventListener("pointercancel", stop, { once: true });
});
document.addEventListener("dragstart", (event) => { if (event.target.closest?.("[data-graph]")) event.preventDefault(); });

const roomShowGraphs = () => { for (const canvas of document.querySelectorAll("[data-graph]")) roomShowGraph(canvas); };
document.addEventListener("DOMContentLoaded", roomShowGraphs);
document.addEventListener("htmx:afterSettle", roomShowGraphs);
window.addEventListener("resize", roomShowGraphs);
