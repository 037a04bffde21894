// The room's own behaviour: parts that refresh by themselves, and charts inside them.
"use strict";

/** A part is left alone while nobody looks at it, while a keyboard is in it, and while something in it is unfolded.
 * One that gives the focus back by itself (data-live="focused") is left alone only while somebody types. */
function roomMayRefresh(part) {
    const busy = part.dataset.live === "focused" ? "input, textarea, select" : "input, textarea, select, :focus-visible";
    if (document.hidden || part.contains(document.activeElement) && document.activeElement.matches(busy)) return false;
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

/** What is unfolded stays so when its part of the page is drawn anew. */
const roomUnfolded = new Set();
document.addEventListener("toggle", (event) => {
    const key = event.target.dataset?.key;
    if (key) roomUnfolded[event.target.open ? "add" : "delete"](key);
}, true);
document.addEventListener("htmx:afterSettle", () => {
    for (const one of document.querySelectorAll("details[data-key]")) if (roomUnfolded.has(one.dataset.key)) one.open = true;
});

/** What can only be seen by scrolling can be scrolled by the keyboard. */
function roomScrolls() {
    for (const part of document.querySelectorAll(".room-scroll")) part.toggleAttribute("tabindex", part.scrollWidth > part.clientWidth);
    for (const part of document.querySelectorAll(".room-scroll[tabindex]")) part.tabIndex = 0;
}
for (const moment of ["DOMContentLoaded", "htmx:afterSettle"]) document.addEventListener(moment, roomScrolls);
window.addEventListener("resize", roomScrolls);
window.addEventListener("load", roomScrolls);
/** The same words as the server's for a length of time: its two largest units. */
function roomLength(seconds) {
    if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    const parts = [];
    let left = Math.floor(seconds);
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
        const count = Math.floor(left / size);
        left %= size;
        if (count || parts.length) parts.push(count ? `${count} ${unit}` : "");
        if (parts.length === 2) break;
    }
    return parts.filter(Boolean).join(" ");
}

/** Ages grow while one looks at them. */
function roomAge() {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-age]")) {
        const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
        if (Number.isNaN(seconds) || Math.abs(seconds) < 10) continue;
        time.textContent = seconds > 0 ? roomLength(seconds) : `in ${roomLength(-seconds)}`;
    }
}

/** Pages are written in the reader's zone, which the browser knows and tells by a cookie. */
function roomZone() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (zone) document.cookie = `room_zone=${zone}; path=/; max-age=31536000; samesite=lax`;
    for (const time of document.querySelectorAll("time[datetime]")) {
        const moment = new Date(time.dateTime);
        if (!Number.isNaN(moment.valueOf())) time.title = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
    }
}

/** What everybody must see is asked for by itself, so that a page that stays open learns of it too. */
async function roomBanners() {
    const strip = document.querySelector("[data-banners]");
    if (!strip || document.hidden) return;
    try {
        const answer = await fetch(strip.dataset.banners, { redirect: "error" });
        const text = answer.ok ? await answer.text() : strip.innerHTML;
        if (text !== strip.dataset.shown) {
            strip.innerHTML = text;
            strip.dataset.shown = text;
        }
    } catch {
        // The server is away for a moment: what is shown stays.
    }
}

document.addEventListener("DOMContentLoaded", () => {
    roomZone();
    roomBanners();
    setInterval(roomAge, 1000);
    setInterval(roomBanners, 10000);
});
document.addEventListener("htmx:afterSettle", roomZone);
document.addEventListener("visibilitychange", roomBanners);
