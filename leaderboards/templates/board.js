"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const status = document.getElementById("status");

  // Sorting: detectors only, baselines stay where they are; what is undefined goes last either way.
  const compare = (one, other, sign) => {
    if (one === "" || other === "") return (one === "") - (other === "");
    const numeric = !Number.isNaN(Number(one)) && !Number.isNaN(Number(other));
    return sign * (numeric ? Number(one) - Number(other) : one.localeCompare(other, "en"));
  };
  const sort = (table, head) => {
    const order = { ascending: "descending", descending: "ascending" }[head.getAttribute("aria-sort")] ?? head.dataset.first;
    all("thead th", table).forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const column = head.cellIndex;
    const body = table.querySelector("tbody.detectors");
    if (!body) return;
    const key = (row) => row.cells[column].dataset.value;
    const sign = order === "ascending" ? 1 : -1;
    body.append(...all("tr", body).sort((one, other) => compare(key(one), key(other), sign)));
    status.textContent = `Sorted by ${head.querySelector("button").textContent.trim()}, ${order}.`;
  };
  all("table.sortable").forEach((table) => all("thead th", table).forEach((head) => {
    head.querySelector("button").addEventListener("click", () => sort(table, head));
  }));

  // Search: every word has to occur in a row's model, paper or run.
  const search = document.getElementById("search");
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Set();
    all("tbody.detectors").forEach((body) => {
      const rows = all("tr", body);
      rows.forEach((row) => {
        const text = row.dataset.search.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        if (!row.hidden) found.add(row.dataset.search);
      });
      body.closest(".scroll").nextElementSibling.hidden = rows.some((row) => !row.hidden);
    });
    status.textContent = words.length ? `${found.size} detectors match.` : "";
  });

  // The heatmap's metric. Without scripts all of them are shown.
  all("[data-matrix]").forEach((matrix) => {
    const show = () => {
      const chosen = matrix.querySelector("input:checked").value;
      all("[data-panel]", matrix).forEach((panel) => { panel.hidden = panel.dataset.panel !== chosen; });
    };
    matrix.addEventListener("change", show);
    show();
  });

  // Downloads are made from what the page carries.
  let files;
  all("[data-file]").forEach((button) => button.addEventListener("click", () => {
    files ??= JSON.parse(document.getElementById("files").textContent);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([files[button.dataset.file]], { type: "text/plain;charset=utf-8" }));
    link.download = button.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }));
})();
