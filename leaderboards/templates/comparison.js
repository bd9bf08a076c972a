"use strict";
(() => {
  const index = JSON.parse(document.getElementById("samples").textContent);
  const form = document.getElementById("filters");
  const detail = document.getElementById("detail");
  const word = { f: "fake", r: "real", "-": "no answer", ".": "not reached" };
  const pieces = [...document.querySelectorAll("script.texts")];

  const pair = () => index.pairs[Number(form.pair.value)];
  const set = () => index.sets[pair().set];
  const right = (side, n) => pair().calls[side][n] === set().truth[n];
  const outcome = (n) => {
    if (pair().calls.some((calls) => calls[n] === ".")) return "unreached";
    if (right(0, n)) return right(1, n) ? "right" : "worse";
    return right(1, n) ? "better" : "wrong";
  };
  const OUTCOMES = {
    worse: ["▼", "only A right"], better: ["▲", "only B right"], wrong: ["✗", "neither right"], right: ["✓", "both right"],
    unreached: ["–", "not reached by both"],
  };
  const shows = {
    all: () => true,
    flipped: (n) => ["worse", "better"].includes(outcome(n)),
    failed: (n) => pair().calls.some((calls) => calls[n] === "-"),
  };

  // What is compared: its generators, its tables, how many images are which
  const turnTo = () => {
    const before = form.generator.value;
    form.generator.replaceChildren();
    choose(form.generator, [["", "all"], ...set().generators.map((name, place) => [String(place), name])]);
    form.generator.value = before;
    if (form.generator.selectedIndex < 0) form.generator.selectedIndex = 0;
    document.querySelectorAll("[data-pair]").forEach((part) => { part.hidden = part.dataset.pair !== form.pair.value; });
    const list = document.getElementById("outcomes");
    list.replaceChildren();
    Object.entries(OUTCOMES).forEach(([name, [sign, words]]) => {
      const number = pair().counts[name];
      if (name === "unreached" && !number) return;
      const item = make("li", "", "", list);
      const button = make("button", "plain", "", item);
      button.type = "button";
      make("b", `outcome-${name}`, `${sign} ${number.toLocaleString("en")}`, button);
      button.append(` ${words}`);
      button.disabled = name === "unreached";
      button.addEventListener("click", () => { form.show.value = name; changed(); });
    });
  };
  const filter = () => {
    const { truth, generator, show, find } = form;
    const sought = find.value.toLowerCase();
    const { ids } = set();
    const found = [];
    for (let n = 0; n < ids.length; n += 1) {
      if (truth.value && set().truth[n] !== truth.value) continue;
      if (generator.value !== "" && set().generator[n] !== Number(generator.value)) continue;
      if (sought && !ids[n].toLowerCase().includes(sought)) continue;
      if (shows[show.value] ? shows[show.value](n) : outcome(n) === show.value) found.push(n);
    }
    const shown = ids.length === pair().n ? `${ids.length.toLocaleString("en")} images`
      : `the ${ids.length.toLocaleString("en")} images shown, of ${pair().n.toLocaleString("en")} in both: flipped ones first, then those that neither has right`;
    document.getElementById("count").textContent = `${found.length.toLocaleString("en")} of ${shown}.`;
    return found;
  };

  const says = (side, n) => word[pair().calls[side][n]];
  const tile = (n) => {
    const generator = set().generator[n];
    const first = word[set().truth[n]] + (generator < 0 ? "" : ` · ${set().generators[generator]}`);
    const [sign, words] = OUTCOMES[outcome(n)];
    return tileOf(set().pictures[n], set().ids[n], first, `${sign} ${words}`);
  };
  const viewer = viewing(document.getElementById("grid"), document.getElementById("tiles"), tile, () => { keep(); draw(); });
  const FIELDS = ["pair", "show", "truth", "generator", "find"];
  const kept = address(form, FIELDS, { pair: "0" });
  const keep = () => kept.keep(set().ids[viewer.sample()]);
  const unpackers = index.pairs.map(({ texts: [first, last] }) => (last > first ? unpacker(pieces.slice(first, last), index.chunk) : null));

  // One opened image
  const draw = async () => {
    const n = viewer.sample(), compared = pair();
    if (n < 0) { detail.replaceChildren(make("p", "nothing", "No image matches these filters.")); return; }
    const texts = await unpackers[Number(form.pair.value)]?.(n);
    if (n !== viewer.sample() || compared !== pair()) return; // another one was opened meanwhile
    const page = document.createDocumentFragment();
    make("bdi", "", set().ids[n], make("h2", "", "", page));
    const [sign, words] = OUTCOMES[outcome(n)];
    make("p", `outcome outcome-${outcome(n)}`, `${sign} ${words}`, page);
    const head = make("div", "head", "", page);
    const stage = make("div", "stage", "", head);
    if (set().pictures[n]) {
      const image = make("img", "", "", stage);
      image.alt = `The image, ${word[set().truth[n]]}`;
      image.src = `thumbnails/${set().pictures[n]}`;
    } else make("p", "why", "No picture: neither run's folder keeps one. 'fdr-bench report RUN' makes them while the images are there.", stage);
    drawAnswers(make("div", "", "", head), n);
    if (texts) drawWords(page, texts);
    detail.replaceChildren(page);
  };
  const drawAnswers = (parent, n) => {
    const list = make("dl", "truth", "", parent);
    const say = (name, value) => { if (value) { make("dt", "", name, list); make("bdi", "", value, make("dd", "", "", list)); } };
    say("Truth", word[set().truth[n]]);
    say("Generator", set().generators[set().generator[n]]);
    const table = make("table", "answers", "", make("div", "scroll", "", parent));
    const head = make("tr", "", "", make("thead", "", "", table));
    ["Model", "Says", "P(fake)", ""].forEach((title) => { make("th", "", title, head).scope = "col"; });
    const body = make("tbody", "", "", table);
    const scores = pair().scores.map((of) => of[n]);
    ["A", "B"].forEach((letter, side) => {
      const row = make("tr", "", "", body);
      const name = make("th", "", "", row);
      name.scope = "row";
      make("b", "side", letter, name);
      make("bdi", "", ` ${pair().models[side]}`, name);
      if (index.names[side] !== pair().models[side]) make("bdi", "model-paper", index.names[side], name);
      make("td", "", says(side, n), row);
      make("td", "score", scores[side] === null ? "–" : `${(100 * scores[side]).toFixed(1)} %`, row);
      const judged = "fr".includes(pair().calls[side][n]) ? (right(side, n) ? "right" : "wrong") : "none";
      make("span", `judged ${judged}`, { right: "✓ right", wrong: "✗ wrong", none: "" }[judged], make("td", "", "", row));
    });
    if (!scores.includes(null)) {
      const points = 100 * (scores[1] - scores[0]);
      say("Change of P(fake)", `${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)} points`);
    }
  };
  const drawWords = (parent, [reference, ...written]) => {
    const words = make("div", "words", "", parent);
    make("h3", "", "Reasoning", words);
    const prose = (title, text, name = "") => {
      const part = make("div", name, "", words);
      make("h4", "", title, part);
      make("p", text ? "prose" : "muted", text || "No words.", part).dir = "auto";
    };
    if (reference) prose("Reference", reference, "whole");
    ["A", "B"].forEach((letter, side) => prose(`${letter}: ${pair().models[side]}`, written[side]));
  };

  const changed = () => {
    viewer.show(filter(), viewer.sample());
    keep();
    draw();
  };
  const start = () => { form.show.value = pair().counts.worse + pair().counts.better ? "flipped" : "all"; };
  const recall = () => {
    if (!location.hash.includes("show=")) start();
    kept.recall();
    turnTo();
    const id = kept.recall(); // once more: the generators are there now
    viewer.show(filter(), set().ids.indexOf(id));
    draw();
  };
  form.addEventListener("input", (event) => { if (event.target === form.pair) turnTo(); changed(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { turnTo(); start(); changed(); }));
  window.addEventListener("hashchange", recall);
  recall();
})();
