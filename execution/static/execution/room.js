// The room's own behaviour: parts that refresh by themselves, and charts inside them.
"use strict";

/** A part is left alone while nobody looks at it, while it is typed into, and while something in it is unfolded. */
function roomMayRefresh(part) {
    if (document.hidden || part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return false;
    return !part.querySelector("details[data-once-opened][open], dialog[open]") && !String(window.getSelection());
}

document.addEventListener("htmx:configRequest", (event) => {
    if (event.target.dataset.live !== undefined && !roomMayRefresh(event.target)) event.preventDefault();
});

document.addEventListener("htmx:beforeSwap", (event) => {
    for (const canvas of event.target.querySelectorAll?.("canvas") ?? []) Chart.getChart(canvas)?.destroy();
});

document.addEventListener("htmx:afterSettle", (event) => {
    if (!event.target.querySelector?.("canvas.chart")) return;
    const drawn = [...document.querySelectorAll("canvas.chart")].filter((canvas) => Chart.getChart(canvas));
    for (const canvas of drawn) canvas.classList.remove("chart");
    renderCharts();
    for (const canvas of drawn) canvas.classList.add("chart");
});

/** What can only be seen by scrolling can be scrolled by the keyboard. */
function roomScrolls() {
    for (const part of document.querySelectorAll(".room-scroll")) part.toggleAttribute("tabindex", part.scrollWidth > part.clientWidth);
    for (const part of document.querySelectorAll(".room-scroll[tabindex]")) part.tabIndex = 0;
}
for (const moment of ["DOMContentLoaded", "htmx:afterSettle"]) document.addEventListener(moment, roomScrolls);
window.addEventListener("resize", roomScrolls);
window.addEventListener("load", roomScrolls);
