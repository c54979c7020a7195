// What every page has: the theme, and questions before something that cannot be undone.
"use strict";

(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const stored = () => {
    try {
      return themes.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  };
  const apply = (theme) => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    for (const button of document.querySelectorAll("[data-theme-button]")) {
      button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
      button.setAttribute("aria-label", `Theme: ${theme}`);
    }
    document.dispatchEvent(new CustomEvent("theme"));
  };

  apply(stored());
  document.addEventListener("DOMContentLoaded", () => {
    apply(stored());
    // On a phone the pages are a line that scrolls, in which the one that is shown should be in view.
    const shown = document.querySelector(".side nav [aria-current]");
    if (shown) shown.parentElement.scrollLeft = shown.offsetLeft - (shown.parentElement.clientWidth - shown.offsetWidth) / 2;
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-button]");
    if (!button) return;
    const next = themes[(themes.indexOf(stored()) + 1) % themes.length];
    try {
      localStorage.setItem("theme", next);
    } catch {
      // it holds for this page only
    }
    apply(next);
  });

  document.addEventListener("submit", (event) => {
    const question = (event.submitter && event.submitter.dataset.ask) || event.target.dataset.ask;
    if (question && !window.confirm(question)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  }, true);

  // The key "/" leads to the page's search.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const search = document.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea[data-run]")) {
      event.target.form.requestSubmit();
    }
  });

  // Selects that choose what a page shows need no button.
  document.addEventListener("change", (event) => {
    if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
  });
})();
