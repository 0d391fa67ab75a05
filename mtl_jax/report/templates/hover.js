"use strict";
(() => {
  const { columns, side, rows } = JSON.parse(document.getElementById("rois").textContent);
  const tip = document.getElementById("tip");
  const image = tip.querySelector(".image");
  let highlighted = [];

  function hide() {
    tip.hidden = true;
    for (const mark of highlighted) mark.classList.remove("hot");
    highlighted = [];
  }

  function show(mark) {
    hide();
    const number = Number(mark.dataset.r);
    const [id, description, scores] = rows[number];
    tip.querySelector(".description").textContent = description;
    tip.querySelector(".id").textContent = id;
    tip.querySelector(".scores").textContent = scores;
    if (image) {
      const x = (number % columns) * side;
      const y = Math.floor(number / columns) * side;
      image.style.backgroundPosition = `-${x}px -${y}px`;
    }
    highlighted = [...document.querySelectorAll(`svg.points [data-r="${number}"]`)];
    for (const other of highlighted) other.classList.add("hot");
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
