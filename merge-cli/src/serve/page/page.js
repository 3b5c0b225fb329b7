// The one page of `evomerge serve`: the queue, a job, and the form that hands one in.
//
// It keeps what the server last said of each job, draws it a few times a second at most, and asks for the rest (log, chart,
// events) only for the job that is shown. What the server says is put into the page as text, never as HTML.

const $ = (id) => document.getElementById(id);

/** Jobs by number, as the server last told of them; `heard` is when. */
const jobs = new Map();
let machine = {};
/** Resolved when the server has first told of itself. */
const met = Promise.withResolvers();

// ---- Words

const STATES = ['running', 'queued', 'paused', 'done', 'failed', 'cancelled'];
const number = new Intl.NumberFormat();
const date = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const points = (fitness) => (100 * fitness).toFixed(1);

function bytes(n) {
  if (n < 1000) return `${n} bytes`;
  const power = Math.min(4, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** power).toFixed(1)} ${['', 'kB', 'MB', 'GB', 'TB'][power]}`;
}

function duration(seconds) {
  const s = Math.round(seconds);
  const [d, h, m] = [Math.floor(s / 86400), Math.floor((s % 86400) / 3600), Math.floor((s % 3600) / 60)];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s % 60} s` : `${s} s`;
}

const SECONDS = { s: 1, sec: 1, m: 60, min: 60, h: 3600, d: 86400, w: 604800 };
const BYTES = {
  '': 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, k: 1e3, m: 1e6, g: 1e9, t: 1e12,
  kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40,
};

/** The sum of numbers with units, such as `1d 12h`; NaN of anything else. */
function measured(text, units) {
  const whole = text.trim().toLowerCase();
  const parts = [...whole.matchAll(/([\d.]+)\s*([a-z]*)\s*/gy)];
  if (!whole || parts.map(([part]) => part).join('') !== whole) return NaN;
  return Math.round(parts.reduce((sum, [, n, unit]) => sum + n * (units[unit] ?? NaN), 0));
}

/** The state in a word, with what was asked of a job that runs. */
const stateOf = (job) => ({ pause: 'pausing …', cancel: 'cancelling …' })[job.asked] ?? job.state;

/** From 0 to 1, if it can be known. */
function share({ progress }) {
  if (!progress) return null;
  return progress.total ? Math.min(1, progress.done / progress.total) : (progress.spent ?? null);
}

/** How far it is, in words. */
function progressOf({ progress: p }) {
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
function briefly(job) {
  const { phase, generation, best } = job.progress ?? {};
  const done = share(job);
  const first = done == null ? phase : `${Math.floor(100 * done)}%`;
  const rest = generation ? `generation ${generation}${best == null ? '' : `, best ${points(best)}`}` : done != null && phase;
  return [first, rest].filter(Boolean).join(' · ');
}

/** How long it has run, and how long it is likely to run on. */
function timesOf(job) {
  const since = job.state === 'running' ? (performance.now() - job.heard) / 1000 : 0;
  const left = job.state === 'running' ? job.progress?.left_seconds : null;
  return [
    job.seconds || since ? duration(job.seconds + since) : '',
    left == null ? '' : `${duration(Math.max(0, left - since))} left`,
  ];
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- Elements

/** A new element; its children are text or elements. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Changes text only where it differs, so that selections and screen readers are left alone. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Text that may be absent. */
function maybe(node, text) {
  node.hidden = !text;
  say(node, text ?? '');
}

function setBar(bar, value) {
  bar.hidden = value == null;
  if (value != null) bar.value = value;
}

function button(text, act, attributes = {}) {
  const node = make('button', { type: 'button', ...attributes }, text);
  node.onclick = act;
  return node;
}

function complain(error) {
  if (error.name === 'AbortError') return;
  if (!(error instanceof Refusal)) throw error;
  $('alert').hidden = false;
  $('alert-text').textContent = error.message;
  $('alert-hint').textContent = error.hint ?? '';
}
$('alert-close').onclick = () => { $('alert').hidden = true; };

/** Asks whether something is meant. */
function sure(title, text, yes) {
  const dialog = $('confirm');
  say($('confirm-title'), title);
  say($('confirm-text'), text);
  say($('confirm-yes'), yes);
  dialog.showModal();
  return new Promise((answer) => {
    $('confirm-no').onclick = () => dialog.close();
    $('confirm-form').onsubmit = (event) => {
      event.preventDefault();
      answer(true);
      dialog.close();
    };
    dialog.onclose = () => answer(false);
  });
}

// ---- The server

/** What the server would not do, and what to do about it; of status 0 if it did not answer. */
class Refusal extends Error {
  constructor(status, { error, hint }) {
    super(error ?? `the server answered ${status}`);
    this.status = status;
    this.hint = hint;
  }
}

/** The token never leaves this tab but in a header. */
const token = () => sessionStorage.getItem('token');
let asking = null;

function askToken(refused) {
  // Another request may have been given one meanwhile.
  if (token() !== refused) return Promise.resolve();
  asking ??= new Promise((go) => {
    if (refused) say($('token-text'), 'The token was not accepted. Try again.');
    $('ask-token').showModal();
    $('token-form').onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem('token', $('token').value.trim());
      $('token').value = '';
      $('ask-token').close();
    };
    $('ask-token').onclose = () => { asking = null; go(); };
  });
  return asking;
}

const AWAY = 'server is away';

async function request(path, options = {}) {
  for (;;) {
    const used = token();
    const headers = { ...options.headers, ...(used && { authorization: `Bearer ${used}` }) };
    const answer = await fetch(path, { cache: 'no-store', ...options, headers }).catch((error) => {
      throw error.name === 'AbortError' ? error : new Refusal(0, { error: AWAY });
    });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
    await askToken(used);
  }
}

const get = async (path, signal) => (await request(path, { signal })).json();
const post = async (path, body, signal) => {
  const headers = { 'content-type': 'application/json' };
  return (await request(path, { method: 'POST', headers, body: JSON.stringify(body), signal })).json();
};

function hear(job) {
  jobs.set(job.id, { ...job, heard: performance.now() });
  redraw();
}

/** Longer than the server is ever silent, milliseconds. */
const SILENCE = 45_000;

/** The events of a stream, as name and data. */
async function* events(body, abort) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const silence = setTimeout(() => abort.abort(), SILENCE);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    const blocks = (text + value).split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const lines = block.split('\n').map((line) => line.match(/^(\w+): ?(.*)$/) ?? []);
      const field = (name) => lines.filter((line) => line[1] === name).map((line) => line[2]).join('\n');
      if (field('data')) yield [field('event'), JSON.parse(field('data'))];
    }
  }
}

/** Keeps the jobs as the server has them, for as long as the page is open. */
async function live() {
  for (let wait = 500; ; wait = Math.min(2 * wait, 5000)) {
    let why = AWAY;
    try {
      const abort = new AbortController();
      // First the stream and then the list, so that nothing is missed between them.
      const stream = await request('/api/events', { headers: { accept: 'text/event-stream' }, signal: abort.signal });
      await list(abort.signal);
      met.resolve();
      connection('live', 'live');
      wait = 250;
      for await (const [name, data] of events(stream.body, abort)) {
        if (name === 'job') hear(data);
        if (name === 'removed') jobs.delete(data.id);
        if (name === 'missed') await list(abort.signal);
        redraw();
      }
    } catch (error) {
      if (error instanceof Refusal) why = error.message;
    }
    connection('away', `${why}, trying again`);
    await pause(wait);
  }
}

async function list(signal) {
  const all = await get('/api/jobs', signal);
  machine = all.server;
  jobs.clear();
  all.jobs.forEach(hear);
  // What was asked for while the server was away is asked for again.
  if (shown) shown.seen = {};
}

function connection(state, text) {
  $('connection').dataset.state = state;
  say($('connection'), text);
  redraw();
}

// ---- The queue

/** Rows that are drawn at once: more make a browser slow, and nobody reads them. */
const STEP = 200;
let limit = STEP;
const wanted = new Set();
const rows = new Map();

const stateButtons = Object.fromEntries(STATES.map((state) => [state, button(state, () => {
  if (!wanted.delete(state)) wanted.add(state);
  refilter();
}, { 'aria-pressed': 'false' })]));
$('states').append(...Object.values(stateButtons));
$('find').oninput = refilter;
$('more').onclick = () => { limit += STEP; redraw(); };

function refilter() {
  limit = STEP;
  redraw();
}

/** What runs, then what is to run in the order of its turn, then what has ended, latest first. */
function compare(a, b) {
  const rank = (job) => Math.min(STATES.indexOf(job.state), 3);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  return rank(a) === 3 ? b.changed_at - a.changed_at || b.id - a.id : b.priority - a.priority || a.id - b.id;
}

function drawQueue() {
  const all = [...jobs.values()];
  for (const [state, node] of Object.entries(stateButtons)) {
    say(node, `${state} ${number.format(all.filter((job) => job.state === state).length)}`);
    node.setAttribute('aria-pressed', wanted.has(state));
  }
  const words = $('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = all.filter((job) => {
    if (wanted.size && !wanted.has(job.state)) return false;
    const { id, name, kind, labels, words: command, why, waits } = job;
    const text = words.length ? [`#${id}`, name, kind, ...labels, ...command, why, waits].join(' ').toLowerCase() : '';
    return words.every((word) => text.includes(word));
  });
  const top = found.sort(compare).slice(0, limit);

  const kept = new Set(top.map((job) => job.id));
  for (const [id, row] of rows) {
    if (kept.has(id)) continue;
    row.node.remove();
    rows.delete(id);
  }
  top.forEach((job, place) => {
    if (!rows.has(job.id)) rows.set(job.id, newRow(job));
    const row = rows.get(job.id);
    if (row.job !== job || job.state === 'running') drawRow(row, job);
    const there = $('rows').children[place];
    if (there !== row.node) $('rows').insertBefore(row.node, there ?? null);
  });
  $('jobs').hidden = !top.length;
  maybe($('nothing'), top.length || !machine.slots ? '' : all.length ? 'No job is like that.' : 'The queue is empty.');
  maybe($('more'), found.length > limit ? `Show more: ${number.format(found.length - limit)} are not shown` : '');
  drawMachine();
}

function drawMachine() {
  const { slots, threads, memory, disk_free: disk, version } = machine;
  if (!slots) return;
  const counted = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`;
  const parts = [counted(slots, 'slot'), counted(threads, 'thread'), `${bytes(memory)} of memory`];
  if (disk != null) parts.push(`${bytes(disk)} free on disk`);
  say($('machine'), [...parts, `version ${version}`].join(' · '));
}

function newRow({ id, kind }) {
  const row = {
    link: make('a', { href: `#/job/${id}` }), labels: make('span'), note: make('small', { class: 'soft' }),
    state: make('span', { class: 'state' }), bar: make('progress', { max: 1, 'aria-label': `Progress of job ${id}` }),
    progress: make('small', { class: 'soft' }), ran: make('span'), left: make('small', { class: 'soft' }),
    priority: make('td', { class: 'n priority' }),
  };
  row.node = make('tr', {},
    make('td', { class: 'n' }, String(id)), make('td', { class: 'name' }, row.link, row.labels, row.note),
    make('td', { class: 'kind' }, kind), make('td', {}, row.state), make('td', { class: 'progress' }, row.bar, row.progress),
    make('td', { class: 'time' }, row.ran, row.left), row.priority);
  return row;
}

function drawRow(row, job) {
  row.job = job;
  const active = ['running', 'paused'].includes(job.state);
  row.node.dataset.state = job.state;
  say(row.link, job.name);
  row.labels.replaceChildren(...job.labels.map((label) => make('span', { class: 'label' }, label)));
  maybe(row.note, job.waits ?? job.why);
  say(row.state, stateOf(job));
  setBar(row.bar, active ? share(job) : null);
  maybe(row.progress, active ? briefly(job) : '');
  const [ran, left] = timesOf(job);
  say(row.ran, ran);
  maybe(row.left, left);
  say(row.priority, String(job.priority));
}

// ---- A job

/** The job that is shown, if one is; `seen` is what was fetched for which state of it. */
let shown = null;

/** Letters of a log that are kept in the page. */
const LOG = 400_000;

function openJob(id) {
  shown = { id, seen: {}, abort: new AbortController() };
  for (const name of ['events', 'log', 'output', 'chart', 'facts', 'job-buttons']) $(name).replaceChildren();
  for (const name of ['job-output', 'job-chart', 'to-end']) $(name).hidden = true;
  followLog(shown).catch(complain);
}

function closeJob() {
  shown?.abort.abort();
  shown = null;
}

/** Does something once for each value of a key; what the server does not have (any more) is no error here. */
function once(name, key, act) {
  const { seen, abort } = shown;
  if (seen[name] === key) return;
  seen[name] = key;
  act(abort.signal).catch((error) => { if (![0, 404].includes(error.status)) complain(error); });
}

function drawJob() {
  const job = jobs.get(shown.id);
  $('job-body').hidden = !job;
  if (!job) {
    say($('job-title'), $('connection').dataset.state === 'live' ? `There is no job ${shown.id}` : `Job ${shown.id}`);
    return;
  }
  const path = `/api/jobs/${job.id}`;
  document.title = `${job.name} (${job.state}) – evomerge`;
  const title = `${job.name} #${job.id}`;
  if ($('job-title').textContent !== title) $('job-title').replaceChildren(`${job.name} `, make('small', {}, `#${job.id}`));
  $('job-now').dataset.state = job.state;
  say($('job-state'), stateOf(job));
  const [ran, left] = timesOf(job);
  say($('job-time'), [job.kind, ran && `ran ${ran}`, left].filter(Boolean).join(' · '));
  const active = ['running', 'paused', 'queued'].includes(job.state);
  setBar($('job-bar'), active ? share(job) : null);
  maybe($('job-progress'), active ? progressOf(job) : '');
  const again = job.quarantined ? ' – it has failed the same way too often to be tried again by itself' : '';
  maybe($('job-why'), job.waits ?? (job.why && job.why + again));

  const stands = `${job.state} ${job.asked} ${job.attempts} ${job.changed_at}`;
  if (shown.seen.buttons !== stands) {
    shown.seen.buttons = stands;
    const focused = document.activeElement?.closest('#job-buttons') && document.activeElement.textContent;
    $('job-buttons').replaceChildren(...buttons(job, path));
    // Whoever uses the keyboard stays where they were.
    if (focused) ([...$('job-buttons').children].find((node) => node.textContent === focused) ?? $('job-title')).focus();
    drawFacts(job);
  }
  once('events', stands, async (signal) => drawEvents((await get(path, signal)).events));
  if (job.state === 'done') {
    once('output', stands, async (signal) => {
      const { text } = await get(`${path}/output`, signal);
      say($('output'), text);
      $('job-output').hidden = !text.trim();
    });
  }
  const { phase, generation } = job.progress ?? {};
  if (generation) {
    once('chart', `${stands} ${phase} ${generation}`, async (signal) => {
      drawChart(await (await request(`${path}/chart`, { signal })).text());
    });
  }
}

function buttons(job, path) {
  const act = (what, body = {}) => () => post(`${path}/${what}`, body).then(hear).catch(complain);
  const list = [];
  const { state, asked } = job;
  if (state === 'done' && job.kind === 'search') list.push(reportLink(job, path));
  if ((state === 'running' && !asked) || state === 'queued') list.push(button('Pause', act('pause')));
  if (state === 'paused' || asked === 'pause') list.push(button('Resume', act('resume'), { class: 'main' }));
  if (['queued', 'running', 'paused'].includes(state) && asked !== 'cancel') {
    list.push(button('Cancel …', async () => {
      const what = 'What it has learned stays in its directory, and a retry goes on from there.';
      if (await sure(`Cancel job ${job.id}?`, what, 'Cancel the job')) act('cancel')();
    }));
  }
  if (state === 'failed' || state === 'cancelled') {
    const text = job.quarantined ? 'Retry all the same' : 'Retry';
    list.push(button(text, act('retry', { force: job.quarantined }), { class: 'main' }));
  }
  if (['done', 'failed', 'cancelled'].includes(state)) {
    list.push(button('Remove …', async () => {
      if (!await sure(`Remove job ${job.id}?`, 'The queue forgets it, its events and its log.', 'Remove the job')) return;
      request(path, { method: 'DELETE' }).then(() => { location.hash = '#/'; }).catch(complain);
    }));
  }
  return list;
}

/** A page cannot be opened with a token in a header: with one, the report is fetched and saved. */
function reportLink(job, path) {
  const link = make('a', { class: 'button', href: `${path}/report`, target: '_blank', rel: 'noopener' });
  link.append(token() ? 'Save report' : 'Open report');
  link.onclick = async (event) => {
    if (!token()) return;
    event.preventDefault();
    try {
      const url = URL.createObjectURL(await (await request(`${path}/report`)).blob());
      make('a', { href: url, download: `job-${job.id}.html` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) {
      complain(error);
    }
  };
  return link;
}

function drawFacts(job) {
  const { limits, needs } = job;
  const facts = {
    Command: make('code', {}, `evomerge ${job.words.join(' ')}`),
    Priority: String(job.priority),
    After: job.after.length && make('span', {}, ...job.after.flatMap((id) => [make('a', { href: `#/job/${id}` }, `#${id}`), ' '])),
    Labels: job.labels.join(', '),
    Attempts: String(job.attempts),
    Submitted: date.format(job.submitted_at),
    Changed: date.format(job.changed_at),
    'Time limit': limits.seconds == null ? '' : duration(limits.seconds),
    'Disk limit': limits.bytes == null ? '' : bytes(limits.bytes),
    'Likely needs': needed(needs),
  };
  const pairs = Object.entries(facts).filter(([, value]) => value);
  $('facts').replaceChildren(...pairs.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]));
}

function needed({ memory, disk }) {
  return [memory != null && `${bytes(memory)} of memory`, disk != null && `${bytes(disk)} on disk`].filter(Boolean).join(', ');
}

function drawEvents(list) {
  const told = ({ what, why }) => (why ? `${what}: ${why}` : what);
  $('events').replaceChildren(...list.toReversed().map((event) => make('li', {},
    make('time', { datetime: new Date(event.at).toISOString() }, date.format(event.at)), make('span', {}, told(event)))));
}

/** What a drawing may consist of. */
const DRAWN = new Set(['svg', 'g', 'line', 'polyline', 'polygon', 'path', 'rect', 'circle', 'text', 'tspan', 'title', 'desc']);

function drawChart(text) {
  const svg = new DOMParser().parseFromString(text, 'image/svg+xml').documentElement;
  if (svg.localName !== 'svg') return;
  for (const node of [svg, ...svg.querySelectorAll('*')]) {
    if (!DRAWN.has(node.localName)) node.remove();
    for (const { name } of [...node.attributes]) {
      if (/^on|href|^style$/i.test(name)) node.removeAttribute(name);
    }
  }
  $('chart').replaceChildren(svg);
  $('job-chart').hidden = false;
}

/** Reads the log on, second by second, until another view is opened. */
async function followLog(view) {
  const log = $('log');
  let from = null;
  let known = null;
  for (; !view.abort.signal.aborted; await pause(1000)) {
    const job = jobs.get(view.id);
    const stands = `${job?.state} ${job?.attempts}`;
    if (!job || document.hidden || (job.state !== 'running' && known === stands)) continue;
    const path = `/api/jobs/${view.id}/log${from == null ? '' : `?from=${from}`}`;
    // A server that is away is told of elsewhere, and the next second may find it.
    const part = await get(path, view.abort.signal).catch((error) => error.status && { text: '', next: from });
    if (!part || view.abort.signal.aborted) continue;
    from = part.next;
    if (!part.text) known = stands;
    const follows = atEnd(log);
    log.append(part.text);
    if (follows && log.textContent.length > LOG) log.textContent = log.textContent.slice(-LOG / 2);
    if (follows) log.scrollTop = log.scrollHeight;
  }
}

const atEnd = (node) => node.scrollHeight - node.scrollTop - node.clientHeight < 30;
$('log').onscroll = () => { $('to-end').hidden = atEnd($('log')); };
$('to-end').onclick = () => { $('log').scrollTop = $('log').scrollHeight; };

// ---- The form

/** One key for one filled-in form: what is sent twice is done once. */
let key = null;
let checking = null;
/** The recipes there are. */
let known = new Set();

/** The height of a line of the editor in the style sheet, pixels. */
const LINE = 20;

const source = () => $('form').elements.source.value;

async function openForm() {
  const [{ recipes }] = await Promise.all([get('/api/recipes'), met.promise]);
  known = new Set(recipes.map(({ file }) => file));
  const chosen = $('file').value;
  $('file').replaceChildren(...recipes.map(({ file, kind }) => make('option', { value: file }, `${file} (${kind})`)));
  if (known.has(chosen)) $('file').value = chosen;
  if (!recipes.length) $('form').elements.source.value = 'text';
  if (!$('save-as').value) $('save-as').value = unused('recipe.yaml');
  await drawSource();
}

/** A name that no recipe has yet; in the first root, if it has no folder. */
function unused(name) {
  const place = name.includes('/') ? name : `${machine.roots?.[0] ?? 'recipes'}/${name}`;
  const [, stem, ending] = place.match(/^(.*?)(?:-\d+)?(\.[^./]*)?$/);
  for (let n = 2, file = place; ; n += 1) {
    if (!known.has(file)) return file;
    file = `${stem}-${n}${ending ?? '.yaml'}`;
  }
}

async function drawSource() {
  const own = source() === 'text';
  $('with-text').hidden = !own;
  $('save-as').disabled = !own;
  $('with-file').hidden = own;
  $('text').readOnly = !own;
  if (!own) {
    const file = $('file').value;
    const text = file ? (await get(`/api/recipes/text?file=${encodeURIComponent(file)}`)).text : '';
    if (source() === 'file' && $('file').value === file) $('text').value = text;
  }
  drawNumbers();
  changed();
}

$('copy').onclick = () => {
  $('save-as').value = unused($('file').value || 'recipe.yaml');
  $('form').elements.source.value = 'text';
  drawSource().catch(complain);
  goTo(1, 1);
};

function drawNumbers() {
  const lines = $('text').value.split('\n').length;
  say($('numbers'), `${Array.from({ length: lines }, (_, i) => i + 1).join('\n')}\n\n`);
}

$('text').onscroll = () => {
  $('numbers').scrollTop = $('text').scrollTop;
  $('mark').style.transform = `translateY(${LINE * ($('mark').dataset.line - 1) - $('text').scrollTop}px)`;
};

/** What the form says, as the server takes it. What is wrong is told where it is. */
function submission() {
  const body = { key, priority: Number($('priority').value) || 0 };
  if (source() === 'file') body.file = $('file').value;
  else Object.assign(body, { text: $('text').value, save_as: $('save-as').value.trim() });
  const words = (id) => $(id).value.split(/[\s,、]+/).filter(Boolean);
  const read = (id, value, hint) => {
    $(id).setCustomValidity($(id).value.trim() && !value ? hint : '');
    return value;
  };
  const ids = words('after').map((word) => Number(word.replace(/^#/, '')));
  body.after = read('after', ids.every((id) => Number.isInteger(id) && id > 0) && ids, 'numbers of jobs, such as 12, 13') || [];
  body.labels = words('labels');
  body.seconds = read('seconds', measured($('seconds').value, SECONDS), 'a time such as 90min, 12h or 1d 12h') || undefined;
  body.bytes = read('bytes', measured($('bytes').value, BYTES), 'a size such as 500MB or 20 GB') || undefined;
  if ($('name').value.trim()) body.name = $('name').value.trim();
  for (const id of ['attempts', 'seed', 'budget']) {
    if ($(id).value && !$(id).closest('[hidden]')) body[id] = Number($(id).value);
  }
  return body;
}

function changed() {
  key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  checking?.abort();
  const abort = (checking = new AbortController());
  const body = submission();
  if (!(body.file || body.text?.trim())) return verdict();
  setTimeout(async () => {
    if (abort.signal.aborted) return;
    try {
      const found = await post('/api/check', body, abort.signal);
      const needs = needed(found.needs);
      const can = `${found.kind === 'eval' ? 'an' : 'a'} ${found.kind} that can be done${needs && `; it is likely to need ${needs}`}`;
      verdict(make('p', { class: 'right' }, can), ...found.notes.map((note) => make('p', { class: 'soft' }, note)));
      for (const node of document.querySelectorAll('.of-search')) node.hidden = found.kind !== 'search';
    } catch (error) {
      if (error.name !== 'AbortError') wrong(error);
    }
  }, 400);
}

/** Says what has become of the check, and marks a line if that is where it fails. */
function verdict(...nodes) {
  $('mark').hidden = true;
  $('text').removeAttribute('aria-invalid');
  $('verdict').replaceChildren(...nodes);
}

function wrong(error) {
  if (!(error instanceof Refusal)) throw error;
  verdict(make('p', { class: 'wrong' }, error.message));
  if (error.hint) $('verdict').append(make('p', { class: 'soft' }, `hint: ${error.hint}`));
  const [, file, line, column] = error.message.match(/^(\S*?):(\d+):(\d+): /) ?? [];
  const here = source() === 'file' ? $('file').value : $('save-as').value.trim();
  // A task's file can be wrong too, and is not what is shown.
  if (!line || file.split('/').pop() !== here.split('/').pop()) return;
  $('text').setAttribute('aria-invalid', 'true');
  $('mark').hidden = false;
  $('mark').dataset.line = line;
  $('text').onscroll();
  $('verdict').append(make('p', {}, button(`Go to line ${line}`, () => goTo(line, column))));
}

function goTo(line, column) {
  const before = $('text').value.split('\n').slice(0, line - 1).map((one) => `${one}\n`).join('');
  const place = before.length + Number(column) - 1;
  $('text').focus();
  $('text').setSelectionRange(place, place);
  $('text').scrollTop = LINE * (line - 5);
}

$('form').oninput = (event) => {
  if (event.target === $('text')) drawNumbers();
  if (event.target === $('file') || event.target.name === 'source') drawSource().catch(complain);
  else changed();
};

$('form').onsubmit = async (event) => {
  event.preventDefault();
  checking?.abort();
  $('send').disabled = true;
  try {
    const job = await post('/api/jobs', submission());
    hear(job);
    for (const id of ['name', 'after', 'save-as']) $(id).value = '';
    location.hash = `#/job/${job.id}`;
  } catch (error) {
    wrong(error);
    $('verdict').scrollIntoView({ block: 'center' });
  }
  $('send').disabled = false;
};

// ---- Which view

let due = null;

/** Draws the view that is shown, soon. */
function redraw() {
  due ??= setTimeout(() => {
    due = null;
    if (!$('queue').hidden) drawQueue();
    if (shown) drawJob();
  }, 150);
}
// Time passes for what runs.
setInterval(redraw, 1000);

function navigate(event) {
  const [, name = '', id] = location.hash.split('/');
  const view = ['job', 'submit'].includes(name) ? name : 'queue';
  closeJob();
  for (const other of ['queue', 'job', 'submit']) $(other).hidden = other !== view;
  for (const other of ['queue', 'submit']) $(`to-${other}`).setAttribute('aria-current', other === view ? 'page' : 'false');
  document.title = view === 'submit' ? 'Submit a job – evomerge' : 'evomerge';
  if (view === 'job') {
    openJob(Number(id));
    drawJob();
  }
  if (view === 'queue') drawQueue();
  if (view === 'submit') openForm().catch(complain);
  // Not when the page is opened, only when one goes about in it.
  if (event) $(`${view}-title`).focus();
}

addEventListener('hashchange', navigate);
navigate();
live();
