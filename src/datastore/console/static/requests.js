// How a chart asks for its data.
"use strict";

window.requesting = (() => {
  const fetchJson = async (url, parameters) => {
    const answer = await fetch(`${url}?${new URLSearchParams(parameters)}`, { headers: { Accept: "application/json", "HX-Request": "true" } });
    if (answer.status === 204 && answer.headers.get("HX-Redirect")) {
      location.assign(answer.headers.get("HX-Redirect"));
      return null;
    }
    if (!answer.ok) {
      const told = new DOMParser().parseFromString(await answer.text(), "text/html");
      const title = told.querySelector(".notice strong");
      if (title) title.append(": ");
      throw new Error(told.body.textContent.trim() || `the server answers ${answer.status}`);
    }
    return answer.json();
  };
  // Requests of one sort, of which only the last one counts: an answer that comes after a later request is null.
  const lastOf = (url) => {
    let asked = 0;
    return async (parameters) => {
      asked += 1;
      const own = asked;
      const answer = await fetchJson(url, parameters).catch(() => null);
      return own === asked ? answer : null;
    };
  };
  return { fetchJson, lastOf };
})();
