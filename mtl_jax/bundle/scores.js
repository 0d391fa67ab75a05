"use strict";
// Sorts and filters the rows of the table, and the lesions below it with them.
(() => {
  const table = document.getElementById("lesions");
  const body = table.tBodies[0];
  const [heads, filters] = table.tHead.rows;
  const places = [...body.rows];
  const sections = new Map(places.map((row) => [row, document.getElementById(row.dataset.lesion)]));
  const shown = document.getElementById("shown");
  let sorted = { column: -1, down: false };

  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
  };
  const isNumber = (column) => heads.cells[column].dataset.kind === "number";

  const passes = (row, column) => {
    const said = value(row, column);
    const inputs = [...filters.cells[column].querySelectorAll("input, select")];
    if (isNumber(column)) {
      const [low, high] = inputs.map((input) => (input.value === "" ? null : Number(input.value)));
      if (low === null && high === null) return true;
      return said !== "" && (low === null || Number(said) >= low) && (high === null || Number(said) <= high);
    }
    const wanted = inputs[0].value;
    if (inputs[0].tagName === "SELECT") return wanted === "" || said === wanted;
    return said.toLowerCase().includes(wanted.trim().toLowerCase());
  };

  // What is not known comes last, whichever way is up.
  const compare = (a, b) => {
    const [x, y] = [value(a, sorted.column), value(b, sorted.column)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNumber(sorted.column)
      ? Number(x) - Number(y)
      : x.localeCompare(y, undefined, { numeric: true });
    return sorted.down ? -order : order;
  };

  const show = () => {
    const rows = sorted.column < 0 ? places : [...places].sort(compare);
    let count = 0;
    for (const row of rows) {
      const keep = [...row.cells].every((_, column) => passes(row, column));
      count += keep;
      row.hidden = sections.get(row).hidden = !keep;
      body.append(row);
      sections.get(row).parentNode.append(sections.get(row));
    }
    shown.textContent = `${count} of ${places.length} lesions shown.`;
    [...heads.cells].forEach((head, column) => {
      const own = column === sorted.column;
      head.setAttribute("aria-sort", own ? (sorted.down ? "descending" : "ascending") : "none");
    });
  };

  [...heads.cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent.trim();
    button.title = "Sort by this column; again for the other way, a third time for the table's order";
    button.addEventListener("click", () => {
      const first = isNumber(column); // of numbers the largest first
      if (sorted.column !== column) sorted = { column, down: first };
      else if (sorted.down === first) sorted.down = !first;
      else sorted = { column: -1, down: false };
      show();
    });
    head.replaceChildren(button);
  });
  for (const input of filters.querySelectorAll("input, select")) input.addEventListener("input", show);
  document.getElementById("clear").addEventListener("click", () => {
    for (const input of filters.querySelectorAll("input, select")) input.value = "";
    show();
  });
  filters.hidden = document.getElementById("tools").hidden = false;
  show();
})();
