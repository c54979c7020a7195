// Saved queries: kept by this browser, for one token and one tenant.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("saved");
  const statement = document.querySelector("textarea[name=statement]");
  if (!place || !statement) return;
  const most = 50;
  const key = `queries ${place.dataset.owner}`;
  const list = place.querySelector("ul");
  const form = place.querySelector("form");
  const note = place.querySelector("[role=status]");
  const read = () => {
    try {
      const found = JSON.parse(localStorage.getItem(key) || "[]");
      return Array.isArray(found) ? found : [];
    } catch {
      return []; // a browser that keeps nothing, or what is kept is damaged
    }
  };
  const write = (queries) => {
    try {
      localStorage.setItem(key, JSON.stringify(queries));
      return true;
    } catch {
      note.textContent = "This browser keeps nothing more: remove some.";
      return false;
    }
  };
  const show = () => {
    list.replaceChildren();
    for (const each of read()) {
      const item = document.createElement("li");
      const use = document.createElement("button");
      use.type = "button";
      use.className = "small";
      use.textContent = each.name;
      use.addEventListener("click", () => {
        statement.value = each.statement;
        statement.focus();
      });
      const remove = document.createElement("button");
      remove.type = "button";
      remove.className = "small";
      remove.textContent = "×";
      remove.setAttribute("aria-label", `Remove the query ${each.name}`);
      remove.addEventListener("click", () => {
        write(read().filter((other) => other.name !== each.name));
        show();
      });
      item.append(use, remove);
      list.append(item);
    }
    if (!list.children.length) note.textContent = "None is saved yet.";
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.name.value.trim();
    if (!name || !statement.value.trim()) return;
    const others = read().filter((each) => each.name !== name);
    if (others.length >= most) {
      note.textContent = `There are ${most}: remove one first.`;
      return;
    }
    if (!write([...others, { name, statement: statement.value }])) return;
    form.reset();
    note.textContent = `Saved as ${name}.`;
    show();
  });
  show();
});
