// Keys that move through the list and from lesion to lesion; links and form work without.
"use strict";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const items = [...document.querySelectorAll("a.item")];
  const at = items.indexOf(document.activeElement);
  const follow = (id) => document.getElementById(id)?.click();
  const focus = (place) => items[Math.min(Math.max(place, 0), items.length - 1)]?.focus();
  const actions = items.length
    ? { j: () => focus(at + 1), ArrowDown: () => focus(at + 1), k: () => focus(at - 1), ArrowUp: () => focus(at - 1) }
    : {
        j: () => follow("after"), ArrowRight: () => follow("after"),
        k: () => follow("before"), ArrowLeft: () => follow("before"),
        u: () => follow("up"), Escape: () => follow("up"),
      };
  const act = actions[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});
