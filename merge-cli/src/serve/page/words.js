// Numbers, times and jobs in words.

export const STATES = ['running', 'queued', 'paused', 'done', 'failed', 'cancelled'];
export const number = new Intl.NumberFormat();
export const date = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

export function bytes(n) {
  if (n < 1000) return `${n} bytes`;
  const power = Math.min(4, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** power).toFixed(1)} ${['', 'kB', 'MB', 'GB', 'TB'][power]}`;
}

export function duration(seconds) {
  const s = Math.round(seconds);
  const [d, h, m] = [Math.floor(s / 86400), Math.floor((s % 86400) / 3600), Math.floor((s % 3600) / 60)];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s % 60} s` : `${s} s`;
}

export const SECONDS = { s: 1, sec: 1, m: 60, min: 60, h: 3600, d: 86400, w: 604800 };
export const BYTES = {
  '': 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, k: 1e3, m: 1e6, g: 1e9, t: 1e12,
  kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40,
};

/** The sum of numbers with units, such as `1d 12h`; NaN of anything else. */
export function measured(text, units) {
  const whole = text.trim().toLowerCase();
  const parts = [...whole.matchAll(/([\d.]+)\s*([a-z]*)\s*/gy)];
  if (!whole || parts.map(([part]) => part).join('') !== whole) return NaN;
  return Math.round(parts.reduce((sum, [, n, unit]) => sum + n * (units[unit] ?? NaN), 0));
}

/** The state in a word, with what was asked of a job that runs. */
export const stateOf = (job) => ({ pause: 'pausing …', cancel: 'cancelling …' })[job.asked] ?? job.state;

/** Why it is where it is, if there is something to say. */
export function whyOf({ waits, why, quarantined, advice }) {
  const reason = waits ? `waits for ${waits}` : quarantined ? `failed the same way again and again: ${why}` : why;
  return [reason, advice].filter(Boolean).join(' · ');
}

/** From 0 to 1, if it can be known. */
export const share = ({ progress }) => progress?.share ?? null;

/** What a search has gained, in words. */
function gained({ gain }) {
  const signed = (n) => (n < 0 ? '' : '+') + n.toFixed(1);
  return gain && `${signed(gain.points)} [${gain.ci95.map(signed).join(', ')}] to the best parent`;
}

/** How far it is, in words: the same as `evomerge jobs` says. */
export function progressOf(job) {
  const p = job.progress;
  if (!p) return '';
  const count = (n) => (p.unit === 'bytes' ? bytes(n) : `${number.format(n)} ${p.unit}`);
  return [briefly(job), gained(p), p.rate && `${count(Math.round(p.rate))}/s`].filter(Boolean).join(' · ');
}

/** The same for a narrow column. */
export function briefly({ progress: p }) {
  return p ? [p.share != null && `${Math.floor(100 * p.share)}%`, p.label].filter(Boolean).join(' · ') : '';
}

/** How long it has run, and how long it is likely to run on. */
export function timesOf(job) {
  const since = job.state === 'running' ? (performance.now() - job.heard) / 1000 : 0;
  const left = job.state === 'running' ? job.progress?.left_seconds : null;
  return [
    job.seconds || since ? duration(job.seconds + since) : '',
    left != null ? `${duration(Math.max(0, left - since))} left` : job.state === 'running' ? 'estimating' : '',
  ];
}

/** What a job is likely to need, in words. */
export function needed({ memory, disk }) {
  const parts = [memory != null && `${bytes(memory)} of memory`, disk != null && `${bytes(disk)} on disk`];
  return parts.filter(Boolean).join(', ');
}
