"use strict";

// Fetches the page again and swaps its main part, without moving what the reader looks at. A page that cannot be
// refreshed says so, and fades: its numbers are not to be taken for current ones.
(() => {
  const TIMEOUT = 10000;
  const said = document.getElementById("said");
  const lost = document.getElementById("lost");
  const pause = document.getElementById("pause");
  let main = document.querySelector("main");
  let paused = false;
  let timer = 0;
  let good = new Date();

  const every = () => 1000 * Math.max(1, Number(main.dataset.refresh) || 15);
  const clock = (at) => at.toISOString().slice(11, 19) + " UTC";

  async function refresh() {
    clearTimeout(timer);
    try {
      const signal = AbortSignal.timeout(TIMEOUT);
      const response = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", signal });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.querySelector("main");
      if (!fresh) throw new Error(`it answered ${response.status}`);
      if (!paused) swap(page, fresh);
      good = new Date();
      lost.hidden = true;
      document.body.classList.remove("old");
    } catch (error) {
      const why = error instanceof TypeError || error.name === "TimeoutError" ? "the bridge does not answer" : error.message;
      lost.textContent = `This page is old: not refreshed since ${clock(good)}, ${why}.`;
      lost.hidden = false;
      document.body.classList.add("old");
    }
    plan();
  }

  function plan() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(refresh, every());
  }

  function swap(page, fresh) {
    const selection = getSelection();
    if (selection && !selection.isCollapsed && main.contains(selection.anchorNode)) return; // it is being copied
    const tops = (of) => [...of.querySelectorAll("section[id]")].map((one) => [one.id, one.getBoundingClientRect().top]);
    const anchor = tops(main).filter(([, top]) => top < 0).pop();
    const focused = main.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const news = fresh.dataset.said !== main.dataset.said;
    const at = scrollY;
    main.replaceWith(document.adoptNode(fresh));
    main = fresh;
    scrollTo(scrollX, at);
    const now = anchor && tops(main).find(([id]) => id === anchor[0]);
    if (now) scrollBy(0, now[1] - anchor[1]);
    if (focused) [...main.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
    document.title = page.title;
    document.querySelector("link[rel=icon]").href = page.querySelector("link[rel=icon]").href;
    if (news) said.textContent = fresh.dataset.said;
  }

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Paused: resume" : "Pause";
    if (paused) clearTimeout(timer);
    else refresh();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : paused || refresh()));
  pause.hidden = false;
  plan();
})();
