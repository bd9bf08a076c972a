"use strict";
// What pages of single samples share: elements without markup, texts unpacked when needed, and the grid with its keys.

// All that models, datasets and files say becomes text nodes: nothing here parses markup.
const make = (tag, name = "", content = "", parent = null) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (content !== "") made.textContent = content;
  if (parent) parent.append(made);
  return made;
};
const choose = (select, options) => options.forEach(([value, label]) => { make("option", "", label, select).value = value; });

// Texts travel packed, many samples a piece, and are unpacked when one of them is opened.
const unpacker = (pieces, chunk) => {
  const unpacked = new Map();
  return (n) => {
    const number = Math.floor(n / chunk);
    if (!unpacked.has(number)) unpacked.set(number, (async () => {
      const bytes = Uint8Array.from(atob(pieces[number].textContent), (letter) => letter.charCodeAt(0));
      return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
    })());
    return unpacked.get(number).then((texts) => texts[n % chunk]);
  };
};

// A grid's button: the picture where there is one, and under it two lines.
const tileOf = (picture, title, first, second) => {
  const made = make("button", "tile");
  made.type = "button";
  const frame = make("span", "frame", "", made);
  if (picture) {
    const image = make("img", "", "", frame);
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = "";
    image.src = `thumbnails/${picture}`;
  } else make("span", "", "no picture", frame);
  make("b", "", first, made);
  make("i", "", second, made);
  made.title = title;
  return made;
};

// The grid builds the rows in view and no others, so that thousands of samples cost what a screenful costs.
// `tile(n)` makes the button of sample n; `opened()` is called when the reader opened another one.
const viewing = (grid, tiles, tile, opened) => {
  const WIDTH = 132, HEIGHT = 164;
  const built = new Map();
  let found = [];
  let current = -1; // place in `found`
  const columns = () => Math.max(1, Math.floor(tiles.clientWidth / WIDTH));
  const build = (anew = false) => {
    if (anew) { built.forEach((made) => made.remove()); built.clear(); }
    const across = columns();
    tiles.style.height = `${Math.ceil(found.length / across) * HEIGHT + 6}px`;
    const first = Math.max(0, Math.floor(grid.scrollTop / HEIGHT) - 2) * across;
    const last = Math.min(found.length, (Math.ceil((grid.scrollTop + grid.clientHeight) / HEIGHT) + 2) * across);
    built.forEach((made, place) => { if (place < first || place >= last) { made.remove(); built.delete(place); } });
    for (let place = first; place < last; place += 1) {
      let made = built.get(place);
      if (!made) {
        made = tile(found[place]);
        made.style.width = `${WIDTH - 4}px`;
        made.addEventListener("click", () => open(place));
        built.set(place, made);
        tiles.append(made);
      }
      made.style.left = `${(place % across) * WIDTH + 4}px`;
      made.style.top = `${Math.floor(place / across) * HEIGHT + 4}px`;
      made.setAttribute("aria-current", String(place === current));
    }
  };
  const reveal = () => {
    const top = Math.floor(current / columns()) * HEIGHT;
    if (top < grid.scrollTop) grid.scrollTop = top;
    if (top + HEIGHT > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + HEIGHT - grid.clientHeight;
  };
  const open = (place) => {
    current = Math.min(Math.max(place, 0), found.length - 1);
    reveal();
    build();
    opened();
  };
  const show = (samples, preferred) => {
    found = samples;
    const place = found.indexOf(preferred);
    current = place >= 0 ? place : found.length ? 0 : -1;
    grid.scrollTop = 0;
    build(true);
    if (current >= 0) reveal();
    build();
  };
  grid.addEventListener("scroll", () => requestAnimationFrame(() => build()), { passive: true });
  window.addEventListener("resize", () => build());
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("input, select, textarea")) return;
    const to = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: found.length - 1 }[event.key];
    if (to === undefined || !found.length) return;
    event.preventDefault();
    open(to);
  });
  return { show, sample: () => (current < 0 ? -1 : found[current]) };
};

// The address keeps the filters and the sample, so that it can be passed on. `usual` are the fields' first values.
const address = (form, fields, usual) => ({
  keep: (id) => {
    const said = new URLSearchParams();
    fields.forEach((name) => { if (form[name].value !== (usual[name] ?? "")) said.set(name, form[name].value); });
    if (id !== undefined) said.set("id", id);
    try { history.replaceState(null, "", `#${said}`); } catch { /* the address stays */ }
  },
  recall: () => {
    const said = new URLSearchParams(location.hash.slice(1));
    fields.forEach((name) => { if (said.has(name)) form[name].value = said.get(name); });
    [...form.querySelectorAll("select")].forEach((select) => { if (select.selectedIndex < 0) select.selectedIndex = 0; });
    return said.get("id");
  },
});
