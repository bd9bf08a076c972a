"use strict";
(() => {
  const samples = JSON.parse(document.getElementById("samples").textContent);
  const { models, attributes, generators } = samples;
  const count = samples.ids.length;
  const detectors = models.map((model, place) => place).filter((place) => !models[place].baseline);
  const form = document.getElementById("filters");
  const grid = document.getElementById("grid");
  const tiles = document.getElementById("tiles");
  const detail = document.getElementById("detail");

  // All that models, datasets and files say becomes text nodes: nothing here parses markup.
  const make = (tag, name = "", content = "", parent = null) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (content !== "") made.textContent = content;
    if (parent) parent.append(made);
    return made;
  };
  const named = (model) => (model.run ? `${model.name} · ${model.run}` : model.name);
  const word = { f: "fake", r: "real", "-": "no answer", ".": "not reached" };
  const judge = (place, n) => {
    const call = models[place].calls[n];
    if (call === "-" || call === ".") return "none";
    return call === samples.truth[n] ? "right" : "wrong";
  };

  // Filters
  const choose = (select, options) => options.forEach(([value, label]) => { make("option", "", label, select).value = value; });
  choose(form.model, [["", "any detector"], ...models.map((model, place) => [String(place), named(model)])]);
  choose(form.generator, [["", "all"], ...generators.map((name, place) => [String(place), name])]);
  choose(form.attribute, [["", "any or none"], ...attributes.map((name, place) => [String(place), name])]);
  form.attribute.disabled = !attributes.length;

  const asked = () => (form.model.value === "" ? detectors : [Number(form.model.value)]);
  const shows = {
    all: () => true,
    wrong: (n, chosen) => chosen.some((place) => judge(place, n) === "wrong"),
    right: (n, chosen) => chosen.length > 0 && chosen.every((place) => judge(place, n) === "right"),
    failed: (n, chosen) => chosen.some((place) => models[place].calls[n] === "-"),
    split: (n) => { const calls = detectors.map((place) => models[place].calls[n]); return calls.includes("f") && calls.includes("r"); },
  };
  const claimed = (place, n, attribute) => Boolean(models[place].claims?.[n]?.includes(attribute));
  const writes = (place, n) => Boolean(models[place].claims?.[n]);
  const bears = {
    annotated: (n, attribute) => samples.annotated[n].includes(attribute),
    matched: (n, attribute, chosen) => samples.annotated[n].includes(attribute) && chosen.some((place) => claimed(place, n, attribute)),
    missed: (n, attribute, chosen) => samples.annotated[n].includes(attribute) && chosen.some((place) => writes(place, n) && !claimed(place, n, attribute)),
    extra: (n, attribute, chosen) => !samples.annotated[n].includes(attribute) && chosen.some((place) => claimed(place, n, attribute)),
  };
  let found = [];
  let opened = -1; // place in `found`
  const filter = () => {
    const chosen = asked();
    const { truth, generator, attribute, how, show, find } = form;
    const sought = find.value.toLowerCase();
    found = [];
    for (let n = 0; n < count; n += 1) {
      if (truth.value && samples.truth[n] !== truth.value) continue;
      if (generator.value !== "" && samples.generator[n] !== Number(generator.value)) continue;
      if (sought && !samples.ids[n].toLowerCase().includes(sought)) continue;
      if (attribute.value !== "" && !bears[how.value](n, Number(attribute.value), chosen)) continue;
      if (shows[show.value](n, chosen)) found.push(n);
    }
    document.getElementById("count").textContent = found.length === count ? `${count.toLocaleString("en")} images.`
      : `${found.length.toLocaleString("en")} of ${count.toLocaleString("en")} images.`;
  };

  // The grid builds the rows in view and no others, so that thousands of samples cost what a screenful costs.
  const WIDTH = 132, HEIGHT = 164;
  const built = new Map();
  const columns = () => Math.max(1, Math.floor(tiles.clientWidth / WIDTH));
  const tile = (place) => {
    const n = found[place];
    const made = make("button", "tile");
    made.type = "button";
    made.style.width = `${WIDTH - 4}px`;
    const frame = make("span", "frame", "", made);
    if (samples.pictures[n]) {
      const image = make("img", "", "", frame);
      image.loading = "lazy";
      image.decoding = "async";
      image.alt = "";
      image.src = `thumbnails/${samples.pictures[n]}`;
    } else make("span", "", "no picture", frame);
    const generator = samples.generator[n];
    make("b", "", word[samples.truth[n]] + (generator < 0 ? "" : ` · ${generators[generator]}`), made);
    const chosen = asked();
    const wrong = chosen.filter((place) => judge(place, n) === "wrong").length;
    const none = chosen.filter((place) => judge(place, n) === "none").length;
    make("i", "", chosen.length === 1 ? { right: "✓ right", wrong: "✗ wrong", none: "– no answer" }[judge(chosen[0], n)]
      : `${wrong ? `✗ ${wrong} of ${chosen.length} wrong` : none === chosen.length ? "– no answer" : "✓ none wrong"}`, made);
    made.title = samples.ids[n];
    made.addEventListener("click", () => open(place));
    return made;
  };
  const build = (anew = false) => {
    if (anew) { built.forEach((made) => made.remove()); built.clear(); }
    const across = columns();
    tiles.style.height = `${Math.ceil(found.length / across) * HEIGHT + 6}px`;
    const first = Math.max(0, Math.floor(grid.scrollTop / HEIGHT) - 2) * across;
    const last = Math.min(found.length, (Math.ceil((grid.scrollTop + grid.clientHeight) / HEIGHT) + 2) * across);
    built.forEach((made, place) => { if (place < first || place >= last) { made.remove(); built.delete(place); } });
    for (let place = first; place < last; place += 1) {
      let made = built.get(place);
      if (!made) { made = tile(place); built.set(place, made); tiles.append(made); }
      made.style.left = `${(place % across) * WIDTH + 4}px`;
      made.style.top = `${Math.floor(place / across) * HEIGHT + 4}px`;
      made.setAttribute("aria-current", String(place === opened));
    }
  };
  const reveal = () => {
    const top = Math.floor(opened / columns()) * HEIGHT;
    if (top < grid.scrollTop) grid.scrollTop = top;
    if (top + HEIGHT > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + HEIGHT - grid.clientHeight;
  };

  // Texts travel packed, a hundred samples a piece, and are unpacked when one of them is opened.
  const packed = [...document.querySelectorAll("script.texts")];
  const unpacked = new Map();
  const texts = (n) => {
    const number = Math.floor(n / samples.chunk);
    if (!unpacked.has(number)) unpacked.set(number, (async () => {
      const bytes = Uint8Array.from(atob(packed[number].textContent), (letter) => letter.charCodeAt(0));
      return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
    })());
    return unpacked.get(number).then((chunk) => chunk[n % samples.chunk]);
  };

  // The address keeps filters and example, so that it can be passed on.
  const FIELDS = ["model", "show", "truth", "generator", "attribute", "how", "find"];
  const keep = () => {
    const said = new URLSearchParams();
    FIELDS.forEach((name) => { if (form[name].value !== { show: "all", how: "annotated" }[name] && form[name].value) said.set(name, form[name].value); });
    if (opened >= 0) said.set("id", samples.ids[found[opened]]);
    try { history.replaceState(null, "", `#${said}`); } catch { /* the address stays */ }
  };
  const recall = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    FIELDS.forEach((name) => { if (said.has(name)) form[name].value = said.get(name); });
    [...form.querySelectorAll("select")].forEach((select) => { if (select.selectedIndex < 0) select.selectedIndex = 0; });
    filter();
    const place = found.indexOf(samples.ids.indexOf(said.get("id")));
    opened = place >= 0 ? place : found.length ? 0 : -1;
  };

  // One opened example
  const open = (place) => {
    opened = Math.min(Math.max(place, 0), found.length - 1);
    reveal();
    build();
    keep();
    draw();
  };
  const draw = async () => {
    const n = opened < 0 ? -1 : found[opened];
    if (n < 0) { detail.replaceChildren(make("p", "nothing", "No image matches these filters.")); return; }
    const told = await texts(n);
    if (n !== found[opened]) return; // another one was opened meanwhile
    const page = document.createDocumentFragment();
    make("bdi", "", samples.ids[n], make("h2", "", "", page));
    const head = make("div", "head", "", page);
    drawPicture(make("div", "", "", head), n, told);
    drawAnswers(drawTruth(make("div", "", "", head), n, told), n, told);
    drawWords(page, n, told);
    detail.replaceChildren(page);
  };
  const drawPicture = (parent, n, told) => {
    const stage = make("div", "stage", "", parent);
    if (!samples.pictures[n]) { make("p", "why", `No picture: ${told.why ?? "the run kept none"}.`, stage); return; }
    const image = make("img", "", "", stage);
    image.alt = told.caption ?? `The image, ${word[samples.truth[n]]}`;
    image.src = `thumbnails/${samples.pictures[n]}`;
    const toggles = make("div", "toggles", "", parent);
    told.regions.forEach(([attribute, file]) => {
      const region = make("img", "region", "", stage);
      region.alt = `Where ${attributes[attribute]} shows`;
      region.src = `thumbnails/${file}`;
      const box = make("input", "", "", make("label", "", "", toggles));
      box.type = "checkbox";
      box.checked = true;
      box.after(` ${attributes[attribute]}`);
      box.addEventListener("change", () => { region.hidden = !box.checked; });
    });
  };
  const drawTruth = (parent, n, told) => {
    const list = make("dl", "truth", "", parent);
    const say = (name, value) => { if (value) { make("dt", "", name, list); make("bdi", "", value, make("dd", "", "", list)); } };
    say("Truth", word[samples.truth[n]]);
    say("Generator", generators[samples.generator[n]]);
    say("Category", told.category);
    say("Shows", told.caption);
    say("Size", told.size ? `${told.size[0]} × ${told.size[1]}` : null);
    say("Attributes", samples.annotated[n].map((attribute) => attributes[attribute]).join(", "));
    return parent;
  };
  const drawAnswers = (parent, n, told) => {
    const table = make("table", "answers", "", make("div", "scroll", "", parent));
    const head = make("tr", "", "", make("thead", "", "", table));
    ["Model", "Says", "P(fake)", ""].forEach((title) => { make("th", "", title, head).scope = "col"; });
    const body = make("tbody", "", "", table);
    models.forEach((model, place) => {
      const row = make("tr", "", "", body);
      const name = make("th", "", "", row);
      name.scope = "row";
      make("bdi", "", named(model), name);
      const answer = told.answers[place];
      make("td", "", word[model.calls[n]], row);
      const score = model.scores[n];
      make("td", "score", score === null ? "–" : `${(100 * score).toFixed(1)} %${answer.forced ? ", forced" : ""}`, row);
      const judged = judge(place, n);
      const last = make("td", "", "", row);
      make("span", `judged ${judged}`, { right: "✓ right", wrong: "✗ wrong", none: "" }[judged], last);
      const fault = [answer.problem, answer.error].filter(Boolean).join(": ");
      if (fault) make("bdi", "muted", fault, last);
    });
  };
  const drawWords = (parent, n, told) => {
    const annotated = new Set(samples.annotated[n]);
    const writers = models.map((model, place) => place).filter((place) => told.answers[place].pieces.length);
    const reference = (says) => (attribute) => (!annotated.has(attribute) ? "" : says.has(attribute) ? "matched" : "missed");
    if (!writers.length && told.reference.length) {
      const words = make("div", "words", "", parent);
      make("h3", "", "Reference", words);
      prose(words, told.reference, () => "");
    }
    writers.forEach((place) => {
      const claims = models[place].claims?.[n] ?? [];
      const says = new Set(claims);
      const words = make("div", "words", "", parent);
      make("bdi", "", named(models[place]), make("h3", "", "", words));
      const chips = make("div", "chips", "", words);
      annotated.forEach((attribute) => make("span", says.has(attribute) ? "matched" : "missed",
        `${says.has(attribute) ? "✓ matched" : "✗ missed"}: ${attributes[attribute]}`, chips));
      says.forEach((attribute) => { if (!annotated.has(attribute)) make("span", "extra", `+ not annotated: ${attributes[attribute]}`, chips); });
      const left = make("div", "", "", words);
      make("h4", "", "Reference", left);
      if (told.reference.length) prose(left, told.reference, reference(says));
      else make("p", "muted", "The set gives no reference for this image.", left);
      const right = make("div", "", "", words);
      make("h4", "", "The model's words", right);
      prose(right, told.answers[place].pieces, (attribute) => (annotated.has(attribute) ? "matched" : "extra"));
    });
  };
  const SIGN = { matched: "✓", missed: "✗ missed", extra: "+" };
  const prose = (parent, pieces, kind) => {
    const text = make("p", "prose", "", parent);
    text.dir = "auto";
    pieces.forEach(([content, attribute]) => {
      const as = attribute < 0 ? "" : kind(attribute);
      if (!as) { text.append(content); return; }
      const marked = make("mark", as, content, text);
      make("small", "", `${SIGN[as]} ${attributes[attribute]}`, marked);
    });
  };

  const changed = () => {
    const before = opened < 0 ? -1 : found[opened];
    filter();
    const place = found.indexOf(before);
    opened = place >= 0 ? place : found.length ? 0 : -1;
    grid.scrollTop = 0;
    build(true);
    if (opened >= 0) reveal();
    build();
    keep();
    draw();
  };
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(changed));
  grid.addEventListener("scroll", () => requestAnimationFrame(() => build()), { passive: true });
  window.addEventListener("resize", () => build());
  window.addEventListener("hashchange", () => { recall(); build(true); reveal(); build(); draw(); });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("input, select, textarea")) return;
    const to = { ArrowLeft: opened - 1, ArrowRight: opened + 1, Home: 0, End: found.length - 1 }[event.key];
    if (to === undefined || !found.length) return;
    event.preventDefault();
    open(to);
  });
  recall();
  build(true);
  if (opened >= 0) reveal();
  build();
  draw();
})();
