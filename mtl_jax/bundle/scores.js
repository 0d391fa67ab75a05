"use strict";
// Sort and filter the rows of the table and the lesions below it.
(() => {
  const table = document.getElementById("lesions");
  const body = table.tBodies[0];
  const [headers, filters] = table.tHead.rows;
  const tableRows = [...body.rows];
  const sections = new Map(tableRows.map((row) => [row, document.getElementById(row.dataset.lesion)]));
  const status = document.getElementById("shown");
  let sorted = { column: -1, down: false };

  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
  };
  const isNumber = (column) => headers.cells[column].dataset.kind === "number";

  const passes = (row, column) => {
    const cell = value(row, column);
    const inputs = [...filters.cells[column].querySelectorAll("input, select")];
    if (isNumber(column)) {
      const [low, high] = inputs.map((input) => (input.value === "" ? null : Number(input.value)));
      if (low === null && high === null) return true;
      return cell !== "" && (low === null || Number(cell) >= low) && (high === null || Number(cell) <= high);
    }
    const filter = inputs[0].value;
    if (inputs[0].tagName === "SELECT") return filter === "" || cell === filter;
    return cell.toLowerCase().includes(filter.trim().toLowerCase());
  };

  // Unknown values come last in both directions.
  const compare = (a, b) => {
    const [x, y] = [value(a, sorted.column), value(b, sorted.column)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNumber(sorted.column)
      ? Number(x) - Number(y)
      : x.localeCompare(y, undefined, { numeric: true });
    return sorted.down ? -order : order;
  };

  const show = () => {
    const rows = sorted.column < 0 ? tableRows : [...tableRows].sort(compare);
    let count = 0;
    for (const row of rows) {
      const keep = [...row.cells].every((_, column) => passes(row, column));
      count += keep;
      row.hidden = sections.get(row).hidden = !keep;
      body.append(row);
      sections.get(row).parentNode.append(sections.get(row));
    }
    status.textContent = `${count} of ${tableRows.length} lesions shown.`;
    [...headers.cells].forEach((header, column) => {
      const isSorted = column === sorted.column;
      header.setAttribute("aria-sort", isSorted ? (sorted.down ? "descending" : "ascending") : "none");
    });
  };

  [...headers.cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent.trim();
    button.title = "Sort by this column; click again to reverse, a third time for the original order";
    button.addEventListener("click", () => {
      const first = isNumber(column); // numbers start with the largest
      if (sorted.column !== column) sorted = { column, down: first };
      else if (sorted.down === first) sorted.down = !first;
      else sorted = { column: -1, down: false };
      show();
    });
    header.replaceChildren(button);
  });
  for (const input of filters.querySelectorAll("input, select")) input.addEventListener("input", show);
  document.getElementById("clear").addEventListener("click", () => {
    for (const input of filters.querySelectorAll("input, select")) input.value = "";
    show();
  });
  filters.hidden = document.getElementById("tools").hidden = false;
  show();
})();
