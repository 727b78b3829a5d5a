"use strict";
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = button.closest("table");
    const column = Array.from(head.parentNode.children).indexOf(head);
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0];
    const key = (row) => {
      const cell = row.children[column];
      if (!cell) return null;
      return cell.hasAttribute("data-key") ? Number(cell.dataset.key) : cell.textContent === "?" ? null : cell.textContent;
    };
    const rows = Array.from(body.rows);
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      // What is not known comes last either way.
      if (x === null || y === null) return (x === null) - (y === null);
      const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      return falling ? -order : order;
    });
    body.append(...rows);
  });
}
// The figures of a value, beside the pointer: the titles of the plots, without the wait of the browser's own.
const box = document.getElementById("figure");
for (const spot of document.querySelectorAll(".spot")) {
  const title = spot.querySelector("title");
  const text = title.textContent;
  title.remove();
  spot.setAttribute("aria-label", text);
  spot.addEventListener("pointerenter", (event) => {
    box.textContent = text;
    box.hidden = false;
    const left = Math.min(event.clientX + 12, window.innerWidth - box.offsetWidth - 8);
    const above = event.clientY - box.offsetHeight - 12;
    box.style.left = `${Math.max(left, 8)}px`;
    box.style.top = `${above < 8 ? event.clientY + 16 : above}px`;
  });
  spot.addEventListener("pointerleave", () => { box.hidden = true; });
}
