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

  const named = (model) => (model.run ? `${model.name} · ${model.run}` : model.name);
  const word = { f: "fake", r: "real", "-": "no answer", ".": "not reached" };
  const judge = (place, n) => {
    const call = models[place].calls[n];
    if (call === "-" || call === ".") return "none";
    return call === samples.truth[n] ? "right" : "wrong";
  };

  // Filters
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
  const filter = () => {
    const chosen = asked();
    const { truth, generator, attribute, how, show, find } = form;
    const sought = find.value.toLowerCase();
    const found = [];
    for (let n = 0; n < count; n += 1) {
      if (truth.value && samples.truth[n] !== truth.value) continue;
      if (generator.value !== "" && samples.generator[n] !== Number(generator.value)) continue;
      if (sought && !samples.ids[n].toLowerCase().includes(sought)) continue;
      if (attribute.value !== "" && !bears[how.value](n, Number(attribute.value), chosen)) continue;
      if (shows[show.value](n, chosen)) found.push(n);
    }
    document.getElementById("count").textContent = found.length === count ? `${count.toLocaleString("en")} images.`
      : `${found.length.toLocaleString("en")} of ${count.toLocaleString("en")} images.`;
    return found;
  };

  const tile = (n) => {
    const generator = samples.generator[n];
    const chosen = asked();
    const wrong = chosen.filter((place) => judge(place, n) === "wrong").length;
    const none = chosen.filter((place) => judge(place, n) === "none").length;
    const first = word[samples.truth[n]] + (generator < 0 ? "" : ` · ${generators[generator]}`);
    const second = chosen.length === 1 ? { right: "✓ right", wrong: "✗ wrong", none: "– no answer" }[judge(chosen[0], n)]
      : `${wrong ? `✗ ${wrong} of ${chosen.length} wrong` : none === chosen.length ? "– no answer" : "✓ none wrong"}`;
    return tileOf(samples.pictures[n], samples.ids[n], first, second);
  };
  const viewer = viewing(grid, tiles, tile, () => { keep(); draw(); });
  const texts = unpacker([...document.querySelectorAll("script.texts")], samples.chunk);
  const FIELDS = ["model", "show", "truth", "generator", "attribute", "how", "find"];
  const kept = address(form, FIELDS, { show: "all", how: "annotated" });
  const keep = () => kept.keep(samples.ids[viewer.sample()]);

  // One opened example
  const draw = async () => {
    const n = viewer.sample();
    if (n < 0) { detail.replaceChildren(make("p", "nothing", "No image matches these filters.")); return; }
    const told = await texts(n);
    if (n !== viewer.sample()) return; // another one was opened meanwhile
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
    viewer.show(filter(), viewer.sample());
    keep();
    draw();
  };
  const recall = () => {
    const id = kept.recall();
    viewer.show(filter(), samples.ids.indexOf(id));
    draw();
  };
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(changed));
  window.addEventListener("hashchange", recall);
  recall();
})();
