"use strict";
(() => {
  const { across, side, rows } = JSON.parse(document.getElementById("rois").textContent);
  const tip = document.getElementById("tip");
  const picture = tip.querySelector(".picture");
  let hot = [];

  function hide() {
    tip.hidden = true;
    for (const mark of hot) mark.classList.remove("hot");
    hot = [];
  }

  function show(mark) {
    hide();
    const number = Number(mark.dataset.r);
    const [id, what, scores] = rows[number];
    tip.querySelector(".what").textContent = what;
    tip.querySelector(".id").textContent = id;
    tip.querySelector(".scores").textContent = scores;
    if (picture) {
      const x = (number % across) * side;
      const y = Math.floor(number / across) * side;
      picture.style.backgroundPosition = `-${x}px -${y}px`;
    }
    hot = [...document.querySelectorAll(`svg.points [data-r="${number}"]`)];
    for (const other of hot) other.classList.add("hot");
    tip.hidden = false;
    const at = mark.getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const left = Math.min(at.right + 8, window.innerWidth - box.width - 4);
    const below = at.bottom + 8;
    const above = at.top - box.height - 8;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${below + box.height < window.innerHeight ? below : Math.max(4, above)}px`;
  }

  for (const plot of document.querySelectorAll("svg.points")) {
    const marks = [...plot.querySelectorAll("[data-r]")];
    let at = -1;
    plot.tabIndex = 0;
    for (const kind of ["pointerover", "pointerdown"]) {
      plot.addEventListener(kind, (event) => {
        const mark = event.target.closest("[data-r]");
        if (mark) show(mark);
        else hide();
      });
    }
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || !marks.length) return;
      event.preventDefault();
      at = (at + step + marks.length) % marks.length;
      show(marks[at]);
    });
  }
  window.addEventListener("scroll", hide, { passive: true });
})();
