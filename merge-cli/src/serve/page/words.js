// Numbers, times and jobs in words.

export const STATES = ['running', 'queued', 'paused', 'done', 'failed', 'cancelled'];
export const number = new Intl.NumberFormat();
export const date = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const points = (fitness) => (100 * fitness).toFixed(1);

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
export function whyOf({ waits, why, quarantined }) {
  if (waits) return `waits for ${waits}`;
  return quarantined ? `failed the same way again and again, and is only tried if you insist: ${why}` : why;
}

/** From 0 to 1, if it can be known. */
export function share({ progress }) {
  if (!progress) return null;
  return progress.total ? Math.min(1, progress.done / progress.total) : (progress.spent ?? null);
}

/** How far it is, in words. */
export function progressOf({ progress: p }) {
  if (!p) return '';
  const count = (n) => (p.unit === 'bytes' ? bytes(n) : `${number.format(n)} ${p.unit}`);
  return [
    p.phase,
    p.total && `${p.unit === 'bytes' ? bytes(p.done) : number.format(p.done)} of ${count(p.total)}`,
    p.rate && `${count(Math.round(p.rate))}/s`,
    p.generation && `generation ${p.generation}`,
    p.best != null && `best ${points(p.best)}`,
    p.mean != null && `mean ${points(p.mean)}`,
  ].filter(Boolean).join(' · ');
}

/** The same for a narrow column. */
export function briefly(job) {
  const { phase, generation, best } = job.progress ?? {};
  const done = share(job);
  return [
    done != null && `${Math.floor(100 * done)}%`,
    generation ? `generation ${generation}` : phase,
    best != null && `best ${points(best)}`,
  ].filter(Boolean).join(' · ');
}

/** How long it has run, and how long it is likely to run on. */
export function timesOf(job) {
  const since = job.state === 'running' ? (performance.now() - job.heard) / 1000 : 0;
  const left = job.state === 'running' ? job.progress?.left_seconds : null;
  return [
    job.seconds || since ? duration(job.seconds + since) : '',
    left == null ? '' : `${duration(Math.max(0, left - since))} left`,
  ];
}

/** What a job is likely to need, in words. */
export function needed({ memory, disk }) {
  const parts = [memory != null && `${bytes(memory)} of memory`, disk != null && `${bytes(disk)} on disk`];
  return parts.filter(Boolean).join(', ');
}
