"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const canvases = [...document.querySelectorAll("[data-figure]")];

  // Plotly travels packed and is unpacked when a plot first comes into view; the page's policy knows its digest.
  let unpacked;
  const plotly = () => (unpacked ??= (async () => {
    const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.Plotly;
  })());

  const draw = async (canvas) => {
    const Plotly = await plotly();
    const chosen = Number(canvas.closest("[data-matrix]").querySelector("input[type=radio]:checked").value);
    const { data, layout } = structuredClone(figures[Number(canvas.dataset.figure)][chosen]);
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--strong-line") };
    const page = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily, size: 12 },
      hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--strong-line"), font: { color: colour("--ink") } },
      xaxis: { ...axis, ...layout.xaxis, showgrid: false },
      yaxis: { ...axis, ...layout.yaxis },
    };
    await Plotly.react(canvas, data, { ...layout, ...page }, { displayModeBar: false, responsive: true });
    canvas.dataset.drawn = "";
  };
  const redraw = () => canvases.filter((canvas) => "drawn" in canvas.dataset).forEach(draw);

  if (!("DecompressionStream" in window && "IntersectionObserver" in window)) return;
  const watcher = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
    watcher.unobserve(entry.target);
    draw(entry.target);
  }), { rootMargin: "200px" });
  canvases.forEach((canvas) => {
    canvas.closest("figure").hidden = false;
    watcher.observe(canvas);
    canvas.closest("[data-matrix]").addEventListener("change", (event) => {
      if (event.target.type !== "radio") return;
      const label = event.target.parentElement.textContent.trim();
      canvas.closest("figure").querySelector(".plot-metric").textContent = label;
      redraw();
    });
  });
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
