"use strict";
(() => {
  // Theme: the system's until the reader chooses; a page from disk may have no storage.
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remember = (name) => { try { localStorage.setItem("fdr-bench-theme", name); } catch { /* not kept */ } };
  const recall = () => { try { return localStorage.getItem("fdr-bench-theme"); } catch { return null; } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const theme = document.getElementById("theme");
  const showTheme = () => {
    theme.setAttribute("aria-pressed", String(isDark()));
    document.getElementById("theme-name").textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    theme.removeAttribute("aria-pressed");
  };
  if (["light", "dark"].includes(recall())) root.dataset.theme = recall();
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    showTheme();
  });
  system.addEventListener("change", showTheme);
  showTheme();
})();
