"use strict";
// Sortable tables: a header with data-sort has a button; aria-sort says how the table is ordered.
// A cell's data-value is what is compared; cells without one go last in either direction.
report.sortable = (table) => {
  const headers = [...table.tHead.rows[0].cells];
  const compare = (a, b) => (typeof a === "string" || typeof b === "string" ? String(a).localeCompare(String(b)) : a - b);
  const value = (row, column) => {
    const text = row.cells[column].dataset.value;
    if (text === undefined || text === "") return null;
    return headers[column].dataset.sort === "number" ? Number(text) : text;
  };
  const sort = (column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column), Number(row.dataset.place), row]);
    rows.sort(([a, i], [b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return direction * compare(a, b) || i - j;
    });
    body.append(...rows.map(([, , row]) => row));
    headers.forEach((header, i) => {
      if (header.dataset.sort) header.setAttribute("aria-sort", i !== column ? "none" : direction > 0 ? "ascending" : "descending");
    });
  };
  headers.forEach((header, column) => {
    if (!header.dataset.sort) return;
    const button = header.querySelector("button");
    button.disabled = false;
    button.addEventListener("click", () => {
      const first = header.dataset.first === "descending" ? -1 : 1;
      const now = header.getAttribute("aria-sort");
      sort(column, now === "none" ? first : now === "ascending" ? -1 : 1);
    });
  });
};
