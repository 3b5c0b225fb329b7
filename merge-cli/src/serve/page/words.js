// Numbers, times and jobs in words, in the language of the page.

import { language, texts } from './texts.js';

export const STATES = ['running', 'queued', 'paused', 'done', 'failed', 'cancelled'];

/** The language as the reader's country writes it, if the browser tells. */
const locale = navigator.languages.find((one) => one.split('-')[0] === language) ?? language;
export const number = new Intl.NumberFormat(locale);
export const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' });
const list = new Intl.ListFormat(locale);

/** A text with its values, each in the place of its `{name}`. */
export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);

/** A number of things. The English text is in the singular. */
export function count(n, unit) {
  return fill(unit, { n: number.format(n) }) + (language === 'en' && n !== 1 ? 's' : '');
}

export function bytes(n) {
  if (n < 1000) return count(n, texts.BYTE);
  const power = Math.min(4, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** power).toFixed(1)} ${['', 'kB', 'MB', 'GB', 'TB'][power]}`;
}

export function duration(seconds) {
  const s = Math.round(seconds);
  const [d, h, m] = [Math.floor(s / 86400), Math.floor((s % 86400) / 3600), Math.floor((s % 3600) / 60)];
  if (d) return fill(texts.DAYS_HOURS, { d, h });
  if (h) return fill(texts.HOURS_MINUTES, { h, m });
  return m ? fill(texts.MINUTES_SECONDS, { m, s: s % 60 }) : fill(texts.ONLY_SECONDS, { s });
}

export const SECONDS = {
  s: 1, sec: 1, m: 60, min: 60, h: 3600, d: 86400, w: 604800, 秒: 1, 分: 60, 時間: 3600, 日: 86400, 週間: 604800,
};
export const BYTES = {
  '': 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, k: 1e3, m: 1e6, g: 1e9, t: 1e12,
  kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40,
};

/** The sum of numbers with units, such as `1d 12h`; NaN of anything else. */
export function measured(text, units) {
  // Of full width, as Japanese keyboards write them, they are the same.
  const whole = text.normalize('NFKC').trim().toLowerCase();
  const parts = [...whole.matchAll(/([\d.]+)\s*(\p{L}*)\s*/gyu)];
  if (!whole || parts.map(([part]) => part).join('') !== whole) return NaN;
  return Math.round(parts.reduce((sum, [, n, unit]) => sum + n * (units[unit] ?? NaN), 0));
}

const STATE_WORDS = {
  running: texts.RUNNING, queued: texts.QUEUED, paused: texts.PAUSED,
  done: texts.DONE, failed: texts.FAILED, cancelled: texts.CANCELLED,
};
const KIND_WORDS = {
  merge: texts.KIND_MERGE, eval: texts.KIND_EVAL, search: texts.KIND_SEARCH, report: texts.KIND_REPORT,
};
const ASKED_WORDS = { pause: texts.PAUSING, cancel: texts.CANCELLING };
const EVENT_WORDS = {
  submitted: texts.EVENT_SUBMITTED, started: texts.EVENT_STARTED, interrupted: texts.EVENT_INTERRUPTED,
  paused: texts.EVENT_PAUSED, resumed: texts.EVENT_RESUMED, done: texts.EVENT_DONE, failed: texts.EVENT_FAILED,
  cancelled: texts.EVENT_CANCELLED, 'asked to pause': texts.EVENT_ASKED_PAUSE, 'asked to stop': texts.EVENT_ASKED_STOP,
  'given another priority': texts.EVENT_PRIORITY, 'failed, and queued again': texts.EVENT_FAILED_AGAIN,
  'queued again': texts.EVENT_QUEUED_AGAIN,
};
const RATES = { items: texts.LIVE_ITEMS_RATE, answers: texts.ANSWERS_RATE };

export const stateWord = (state) => STATE_WORDS[state] ?? state;
export const kindWord = (kind) => KIND_WORDS[kind] ?? kind;

/** The state in a word, with what was asked of a job that runs. */
export const stateOf = (job) => ASKED_WORDS[job.asked] ?? stateWord(job.state);

/** What has happened to a job, and why. */
export function eventOf({ what: name, why }) {
  const what = EVENT_WORDS[name] ?? name;
  return why ? fill(texts.WITH_REASON, { what, why }) : what;
}

/** Why it is where it is, if there is something to say. */
export function whyOf({ waits, why, quarantined, advice }) {
  const reason = waits ? fill(texts.WAITS_FOR, { what: waits }) : quarantined ? fill(texts.QUARANTINED, { why }) : why;
  return [reason, advice].filter(Boolean).join(' · ');
}

/** From 0 to 1, if it can be known. */
export const share = ({ progress }) => progress?.share ?? null;

/** What a search has gained, in words. */
function gained({ gain }) {
  const signed = (n) => (n < 0 ? '' : '+') + n.toFixed(1);
  return gain && fill(texts.GAIN_TO_PARENT, { gain: `${signed(gain.points)} [${gain.ci95.map(signed).join(', ')}]` });
}

/** How far it is, in words: the same as `evomerge jobs` says. */
export function progressOf(job) {
  const p = job.progress;
  if (!p) return '';
  return [briefly(job), gained(p), p.rate && rate(Math.round(p.rate), p.unit)].filter(Boolean).join(' · ');
}

function rate(n, unit) {
  if (unit === 'bytes') return fill(texts.BYTES_RATE, { size: bytes(n) });
  return fill(RATES[unit] ?? `{n} ${unit}/s`, { n: number.format(n) });
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
    left != null ? fill(texts.TIME_LEFT, { time: duration(Math.max(0, left - since)) })
      : job.state === 'running' ? texts.ESTIMATING : '',
  ];
}

/** What a job is likely to need, in words. */
export function needed({ memory, disk }) {
  const size = (n, text) => (n == null ? [] : [fill(text, { size: bytes(n) })]);
  return list.format([...size(memory, texts.OF_MEMORY), ...size(disk, texts.ON_DISK)]);
}
