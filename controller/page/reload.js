const REFRESH_MS = 5_000;
/** The controller waits 10 s for an agent. */
const TIMEOUT_MS = 15_000;
const live = document.getElementById('live');

/**
 * Fetches `url` every five seconds, and when the page becomes visible, for `show`. If that fails, a note above
 * the last content says `problem`. `ended` is called with whether it failed. Returns a function that fetches at
 * once.
 */
export function keepFresh(url, { show, problem, ended = () => {} }) {
  let timer = setTimeout(refresh, REFRESH_MS);
  let isLoading = false;
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') void refresh();
  });
  return refresh;

  async function refresh() {
    if (isLoading) return;
    isLoading = true;
    clearTimeout(timer);
    try {
      // The browser keeps the last response, and its ETag.
      const response = await fetch(url, { cache: 'no-cache', signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      if (live.className) live.textContent = '';
      live.className = '';
      await show(response);
      ended(false);
    } catch {
      live.className = 'stale';
      live.textContent = problem;
      ended(true);
    }
    isLoading = false;
    timer = setTimeout(refresh, REFRESH_MS);
  }
}
