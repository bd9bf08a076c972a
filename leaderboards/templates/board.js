"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const status = document.getElementById("status");
  const search = document.getElementById("search");
  const tables = new Map(all("table.sortable").map((table) => [table.dataset.table, table]));

  // Sorting: detectors only, baselines stay where they are; what is undefined goes last either way.
  const sorted = new Map(); // by table: [key of the column, order]
  const compare = (one, other, sign) => {
    if (one === "" || other === "") return (one === "") - (other === "");
    const numeric = !Number.isNaN(Number(one)) && !Number.isNaN(Number(other));
    return sign * (numeric ? Number(one) - Number(other) : one.localeCompare(other, "en"));
  };
  const sort = (table, head, order) => {
    all("thead th", table).forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    sorted.set(table.dataset.table, [head.dataset.key, order]);
    const body = table.querySelector("tbody.detectors");
    if (!body) return;
    const key = (rows) => rows[0].cells[head.cellIndex].dataset.value;
    const sign = order === "ascending" ? 1 : -1;
    const groups = []; // a model's row with the printed numbers beneath it
    all("tr", body).forEach((row) => (row.classList.contains("quoted") ? groups.at(-1).push(row) : groups.push([row])));
    body.append(...groups.sort((one, other) => compare(key(one), key(other), sign)).flat());
    status.textContent = `Sorted by ${head.querySelector("button").textContent.trim()}, ${order}.`;
  };
  tables.forEach((table) => all("thead th", table).forEach((head) => {
    head.querySelector("button").addEventListener("click", () => {
      const turned = { ascending: "descending", descending: "ascending" }[head.getAttribute("aria-sort")];
      sort(table, head, turned ?? head.dataset.first);
      keep();
    });
  }));

  // Search: every word has to occur in a row's model, paper or run.
  const seek = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Set();
    all("tbody.detectors").forEach((body) => {
      const rows = all("tr[data-search]", body);
      if (!rows.length) return;
      rows.forEach((row) => {
        const text = row.dataset.search.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        if (!row.hidden) found.add(row.dataset.search);
      });
      body.closest(".scroll").nextElementSibling.hidden = rows.some((row) => !row.hidden);
    });
    status.textContent = words.length ? `${found.size} detectors match.` : "";
  };
  search.addEventListener("input", () => { seek(); keep(); });

  // Columns: those without a tick are not shown; the model's own always is.
  const choices = new Map(all("[data-columns]").map((choice) => [choice.dataset.columns, choice]));
  const showColumns = (slug) => {
    const boxes = all("input", choices.get(slug));
    const hidden = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    const heads = all("thead th", tables.get(slug));
    all("tr", tables.get(slug)).filter((row) => row.cells.length === heads.length).forEach((row) => {
      heads.forEach((head, place) => { row.cells[place].hidden = hidden.has(head.dataset.key); });
    });
    const label = choices.get(slug).closest("details").querySelector(".columns-shown");
    label.textContent = hidden.size ? ` ${boxes.length - hidden.size} of ${boxes.length}` : "";
  };
  choices.forEach((choice, slug) => {
    const details = choice.closest("details");
    details.hidden = false;
    choice.addEventListener("change", () => { showColumns(slug); keep(); });
    choice.querySelector("button").addEventListener("click", () => {
      all("input", choice).forEach((box) => { box.checked = true; });
      showColumns(slug);
      keep();
    });
    document.addEventListener("click", (event) => { if (!details.contains(event.target)) details.open = false; });
    details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !details.open) return;
      details.open = false;
      details.querySelector("summary").focus();
    });
  });

  // The heatmap's metric, and which curve is drawn. Without scripts all of them are shown.
  all("[data-matrix]").forEach((matrix) => {
    const show = () => {
      const chosen = matrix.querySelector("input[type=radio]:checked").value;
      all("[data-panel]", matrix).forEach((panel) => { panel.hidden = panel.dataset.panel !== chosen; });
    };
    matrix.addEventListener("change", (event) => { if (event.target.type === "radio") { show(); keep(); } });
    show();
  });

  // The address keeps all of these, so that it can be passed on: a plain "#name" stays what it is, a place on the page.
  const keep = () => {
    const said = new URLSearchParams();
    if (search.value) said.set("search", search.value);
    sorted.forEach(([key, order], slug) => said.append("sort", `${slug}:${order}:${key}`));
    choices.forEach((choice, slug) => all("input:not(:checked)", choice).forEach((box) => said.append("hide", `${slug}:${box.value}`)));
    all("[data-matrix] input[type=radio]:checked").filter((radio) => !radio.defaultChecked)
      .forEach((radio) => said.append("show", `${radio.name}:${radio.value}`));
    try { history.replaceState(null, "", `#${said}`); } catch { /* the address stays */ }
  };
  const recall = () => {
    if (!location.hash.includes("=")) return;
    const said = new URLSearchParams(location.hash.slice(1));
    search.value = said.get("search") ?? "";
    said.getAll("sort").forEach((words) => {
      const [slug, order, ...key] = words.split(":");
      if (!tables.has(slug)) return;
      const head = all("thead th", tables.get(slug)).find((th) => th.dataset.key === key.join(":"));
      if (head && ["ascending", "descending"].includes(order)) sort(tables.get(slug), head, order);
    });
    const hidden = new Set(said.getAll("hide"));
    choices.forEach((choice, slug) => {
      all("input", choice).forEach((box) => { box.checked = !hidden.has(`${slug}:${box.value}`); });
      showColumns(slug);
    });
    const shown = new Set(said.getAll("show"));
    all("[data-matrix] input[type=radio]").filter((radio) => shown.has(`${radio.name}:${radio.value}`)).forEach((radio) => {
      radio.checked = true;
      radio.dispatchEvent(new Event("change", { bubbles: true }));
    });
    seek();
  };
  window.addEventListener("hashchange", recall);
  recall();

  // The command that lays the two chosen models side by side; its words come quoted for a shell.
  const offer = document.getElementById("offer");
  if (offer) {
    const chosen = all("select", offer);
    const say = () => {
      offer.querySelector("code").textContent = [offer.dataset.command, ...chosen.map((each) => each.value)].join(" ");
    };
    offer.querySelector(".offer-choice").hidden = false;
    offer.addEventListener("change", say);
    say();
  }

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
