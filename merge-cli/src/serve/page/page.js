// The one page of `evomerge serve`: the queue, a job, and the form that hands one in.
//
// It keeps what the server last said of each job, draws it a few times a second at most, and asks for the rest (log, chart,
// events) only for the job that is shown. What the server says is put into the page as text, never as HTML.

const $ = (id) => document.getElementById(id);

/** Jobs by number, as the server last told of them; `heard` is when. */
const jobs = new Map();
let machine = {};

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
const BYTES = { '': 1, b: 1, k: 1e3, kb: 1e3, m: 1e6, mb: 1e6, g: 1e9, gb: 1e9, t: 1e12, tb: 1e12, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 };

/** The sum of numbers with units, such as `1d 12h`; NaN of anything else. */
function measured(text, units) {
  const parts = text.trim().toLowerCase().match(/[\d.]+\s*[a-z]*/g) ?? [];
  const whole = parts.join('').replace(/\s/g, '') === text.toLowerCase().replace(/\s/g, '');
  const values = parts.map((part) => parseFloat(part) * (units[part.replace(/[\d.\s]/g, '')] ?? NaN));
  return whole && values.length ? Math.round(values.reduce((a, b) => a + b)) : NaN;
}

/** The state in a word, with what was asked of a job that runs. */
const stateOf = (job) => ({ pause: 'pausing …', cancel: 'cancelling …' })[job.asked] ?? job.state;

/** From 0 to 1, if it can be known. */
function share({ progress }) {
  if (!progress) return null;
  return progress.total ? Math.min(1, progress.done / progress.total) : (progress.spent ?? null);
}

/** How far it is. */
function progressOf({ progress: p }) {
  if (!p) return '';
  const count = p.unit === 'bytes' ? bytes : (n) => number.format(n);
  const parts = [p.phase];
  if (p.total) parts.push(`${count(p.done)} of ${count(p.total)}${p.unit === 'bytes' ? '' : ` ${p.unit}`}`);
  if (p.generation) parts.push(`generation ${p.generation}`);
  if (p.best != null) parts.push(`best ${points(p.best)}`);
  if (p.mean != null) parts.push(`mean ${points(p.mean)}`);
  if (p.rate) parts.push(p.unit === 'bytes' ? `${bytes(p.rate)}/s` : `${number.format(Math.round(10 * p.rate) / 10)} ${p.unit}/s`);
  return parts.filter(Boolean).join(' · ');
}

/** How long it has run, and has to. */
function timeOf(job) {
  const since = job.state === 'running' ? (performance.now() - job.heard) / 1000 : 0;
  const ran = job.seconds || since ? duration(job.seconds + since) : '';
  const left = job.state === 'running' ? job.progress?.left_seconds : null;
  return left == null ? ran : `${ran} · ${duration(Math.max(0, left - since))} left`;
}

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
  $('alert').hidden = false;
  $('alert-text').textContent = error instanceof Refusal ? error.message : 'the server is away';
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

/** What the server would not do, and what to do about it. */
class Refusal extends Error {
  constructor(status, { error, hint } = {}) {
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

async function request(path, options = {}) {
  for (;;) {
    const used = token();
    const headers = { ...options.headers, ...(used && { authorization: `Bearer ${used}` }) };
    const answer = await fetch(path, { cache: 'no-store', ...options, headers });
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

/** What there is, or nothing. */
const optional = (error) => {
  if (error.status !== 404) throw error;
  return null;
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
      const field = (name) => block.split('\n').filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim());
      if (field('data').length) yield [field('event')[0], JSON.parse(field('data').join('\n'))];
    }
  }
}

/** Keeps the jobs as the server has them, for as long as the page is open. */
async function live() {
  for (let wait = 500; ; wait = Math.min(2 * wait, 5000)) {
    let why = 'server is away, trying again';
    try {
      const abort = new AbortController();
      // First the stream and then the list, so that nothing is missed between them.
      const stream = await request('/api/events', { headers: { accept: 'text/event-stream' }, signal: abort.signal });
      const all = await get('/api/jobs', abort.signal);
      machine = all.server;
      jobs.clear();
      all.jobs.forEach(hear);
      connection('live', 'live');
      wait = 250;
      for await (const [name, data] of events(stream.body, abort)) {
        if (name === 'job') hear(data);
        if (name === 'removed') jobs.delete(data.id);
        if (name === 'server') machine = data;
        redraw();
      }
    } catch (error) {
      if (error instanceof Refusal) why = `${error.message}, trying again`;
    }
    connection('away', why);
    await new Promise((done) => setTimeout(done, wait));
  }
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
  const text = (job) => [`#${job.id}`, job.name, job.kind, ...job.labels, ...job.words, job.why, job.waits].join(' ').toLowerCase();
  const found = all.filter((job) => (!wanted.size || wanted.has(job.state)) && words.every((word) => text(job).includes(word)));
  const shown = found.sort(compare).slice(0, limit);

  const kept = new Set(shown.map((job) => job.id));
  for (const [id, row] of rows) {
    if (kept.has(id)) continue;
    row.node.remove();
    rows.delete(id);
  }
  shown.forEach((job, place) => {
    if (!rows.has(job.id)) rows.set(job.id, newRow(job));
    const row = rows.get(job.id);
    if (row.job !== job || job.state === 'running') drawRow(row, job);
    const there = $('rows').children[place];
    if (there !== row.node) $('rows').insertBefore(row.node, there ?? null);
  });
  $('jobs').hidden = !shown.length;
  maybe($('nothing'), shown.length ? '' : all.length ? 'No job is like that.' : 'The queue is empty.');
  maybe($('more'), found.length > limit ? `Show more: ${number.format(found.length - limit)} are not shown` : '');
  const { slots, threads, memory, disk_free: disk, version } = machine;
  if (slots) {
    say($('machine'), `${slots} ${slots === 1 ? 'slot' : 'slots'} · ${threads} threads · ${bytes(memory)} of memory · ${bytes(disk)} free on disk · version ${version}`);
  }
}

function newRow({ id, kind }) {
  const row = {
    link: make('a', { href: `#/job/${id}` }), labels: make('span'), note: make('small', { class: 'soft' }),
    state: make('span', { class: 'state' }), bar: make('progress', { max: 1, 'aria-label': `Progress of job ${id}` }),
    progress: make('small', { class: 'soft' }), time: make('td', { class: 'time' }), priority: make('td', { class: 'n priority' }),
  };
  row.node = make('tr', {},
    make('td', { class: 'n' }, String(id)), make('td', { class: 'name' }, row.link, row.labels, row.note),
    make('td', { class: 'kind' }, kind), make('td', {}, row.state), make('td', { class: 'progress' }, row.bar, row.progress),
    row.time, row.priority);
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
  maybe(row.progress, active ? progressOf(job) : '');
  say(row.time, timeOf(job));
  say(row.priority, String(job.priority));
}

// ---- A job

/** The job that is shown, if one is; `seen` is what was fetched for which state of it. */
let open = null;

/** Letters of a log that are kept in the page. */
const LOG = 400_000;

function openJob(id) {
  open = { id, seen: {}, abort: new AbortController() };
  for (const name of ['events', 'log', 'output', 'chart', 'facts', 'job-buttons']) $(name).replaceChildren();
  for (const name of ['job-output', 'job-chart', 'to-end']) $(name).hidden = true;
  followLog(open).catch(complain);
}

function closeJob() {
  open?.abort.abort();
  open = null;
}

/** Does something once for each value of a key; what the server does not have, or no longer, is no error here. */
function once(name, key, act) {
  const { seen, abort } = open;
  if (seen[name] === key) return;
  seen[name] = key;
  act(abort.signal).catch(optional).catch((error) => { seen[name] = null; complain(error); });
}

function drawJob() {
  const job = jobs.get(open.id);
  $('job-body').hidden = !job;
  if (!job) {
    say($('job-title'), $('connection').dataset.state === 'live' ? `There is no job ${open.id}` : `Job ${open.id}`);
    return;
  }
  const path = `/api/jobs/${job.id}`;
  document.title = `${job.name} (${job.state}) – evomerge`;
  const title = `${job.name} #${job.id}`;
  if ($('job-title').textContent !== title) $('job-title').replaceChildren(`${job.name} `, make('small', {}, `#${job.id}`));
  $('job-now').dataset.state = job.state;
  say($('job-state'), stateOf(job));
  say($('job-time'), [job.kind, timeOf(job) && `ran ${timeOf(job)}`].filter(Boolean).join(' · '));
  const active = ['running', 'paused', 'queued'].includes(job.state);
  setBar($('job-bar'), active ? share(job) : null);
  maybe($('job-progress'), active ? progressOf(job) : '');
  const again = job.quarantined ? ' – it has failed the same way too often to be tried again by itself' : '';
  maybe($('job-why'), job.waits ?? (job.why && job.why + again));

  const stands = `${job.state} ${job.asked} ${job.attempts} ${job.changed_at}`;
  if (open.seen.buttons !== stands) {
    open.seen.buttons = stands;
    const focused = document.activeElement?.closest('#job-buttons') && document.activeElement.textContent;
    $('job-buttons').replaceChildren(...buttons(job, path));
    // Whoever uses the keyboard stays where they were.
    if (focused) ([...$('job-buttons').children].find((node) => node.textContent === focused) ?? $('job-title')).focus();
    drawFacts(job);
  }
  once('events', stands, async (signal) => drawEvents((await get(path, signal)).events));
  if (job.state !== 'queued') {
    once('output', `${job.state} ${job.attempts}`, async (signal) => maybeOutput((await get(`${path}/output`, signal)).text));
  }
  if (job.kind === 'search') {
    const { phase, generation } = job.progress ?? {};
    once('chart', `${job.state} ${phase} ${generation}`, async (signal) => drawChart(await (await request(`${path}/chart`, { signal })).text()));
  }
}

function maybeOutput(text) {
  say($('output'), text);
  $('job-output').hidden = !text.trim();
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
      if (await sure(`Cancel job ${job.id}?`, 'What it has learned stays in its directory, and a retry goes on from there.', 'Cancel the job')) await act('cancel')();
    }));
  }
  if (state === 'failed' || state === 'cancelled') {
    const text = job.quarantined ? 'Retry all the same' : 'Retry';
    list.push(button(text, act('retry', { force: job.quarantined }), { class: 'main' }));
  }
  if (['done', 'failed', 'cancelled'].includes(state)) {
    list.push(button('Remove …', async () => {
      if (!await sure(`Remove job ${job.id}?`, 'The queue forgets it, its events and its log.', 'Remove the job')) return;
      await request(path, { method: 'DELETE' }).then(() => { location.hash = '#/'; }).catch(complain);
    }));
  }
  return list;
}

/** A page cannot be opened with a token in a header: with one, the report is fetched and saved. */
function reportLink(job, path) {
  const link = make('a', { class: 'button', href: `${path}/report`, target: '_blank', rel: 'noopener' }, token() ? 'Save report' : 'Open report');
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
    After: job.after.length ? make('span', {}, ...job.after.flatMap((id) => [make('a', { href: `#/job/${id}` }, `#${id}`), ' '])) : '',
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
  const told = ({ what, wish, why, failure, again, insists, ran_ms: ran }) => [
    what === 'asked' ? `asked to ${wish}` : what,
    ran ? ` after ${duration(ran / 1000)}` : '',
    again ? ', queued again' : '',
    insists ? ' in spite of its failures' : '',
    why ?? failure?.why ? `: ${why ?? failure.why}` : '',
  ].join('');
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
  for (; !view.abort.signal.aborted; await new Promise((done) => setTimeout(done, 1000))) {
    const job = jobs.get(view.id);
    const stands = `${job?.state} ${job?.attempts}`;
    if (!job || document.hidden || (job.state !== 'running' && known === stands)) continue;
    const path = `/api/jobs/${view.id}/log${from == null ? '' : `?from=${from}`}`;
    // A server that is away is told of elsewhere; the next second may find it.
    const part = await get(path, view.abort.signal).catch(() => null);
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
let kinds = new Map();

const source = () => $('form').elements.source.value;

async function openForm() {
  const { recipes } = await get('/api/recipes');
  kinds = new Map(recipes.map(({ file, kind }) => [file, kind]));
  const chosen = $('file').value;
  $('file').replaceChildren(...recipes.map(({ file, kind }) => make('option', { value: file }, `${file} (${kind})`)));
  if (kinds.has(chosen)) $('file').value = chosen;
  if (!$('save-as').value) $('save-as').value = unused('recipe.yaml');
  await drawSource();
}

/** A name that no recipe has yet; in the first root, if it has no folder. */
function unused(name) {
  const place = name.includes('/') ? name : `${machine.roots?.[0] ?? 'recipes'}/${name}`;
  const [, stem, ending] = place.match(/^(.*?)(?:-\d+)?(\.[^./]*)?$/);
  for (let n = 2, file = place; ; n += 1) {
    if (!kinds.has(file)) return file;
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
  drawSource().then(() => $('text').focus()).catch(complain);
};

function drawNumbers() {
  const lines = $('text').value.split('\n').length;
  say($('numbers'), `${Array.from({ length: lines }, (_, i) => i + 1).join('\n')}\n\n`);
}

$('text').onscroll = () => {
  $('numbers').scrollTop = $('text').scrollTop;
  $('mark').style.transform = `translateY(${20 * ($('mark').dataset.line - 1) - $('text').scrollTop}px)`;
};

/** What the form says, as the server takes it. What is wrong is told where it is. */
function submission() {
  const body = { key, priority: Number($('priority').value) || 0 };
  Object.assign(body, source() === 'file' ? { file: $('file').value } : { text: $('text').value, save_as: $('save-as').value.trim() });
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
      verdict(make('p', { class: 'right' }, [`a ${found.kind} that can be done`, needed(found.needs) && `needs about ${needed(found.needs)}`].filter(Boolean).join('; ')),
        ...found.notes.map((note) => make('p', { class: 'soft' }, note)));
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
  if (!(error instanceof Refusal)) return verdict(make('p', { class: 'wrong' }, 'the server is away'));
  verdict(make('p', { class: 'wrong' }, error.message), ...(error.hint ? [make('p', { class: 'soft' }, `hint: ${error.hint}`)] : []));
  const [, file, line, column] = error.message.match(/^(\S*?):(\d+):(\d+): /) ?? [];
  const here = source() === 'file' ? $('file').value : $('save-as').value.trim();
  // A task's file can be wrong too, and is not what is shown.
  if (!line || file.split('/').pop() !== here.split('/').pop()) return;
  $('text').setAttribute('aria-invalid', 'true');
  $('mark').hidden = false;
  $('mark').dataset.line = line;
  $('text').onscroll();
  $('verdict').append(make('p', {}, button(`Go to line ${line}`, () => {
    const start = $('text').value.split('\n').slice(0, line - 1).join('\n').length + (line > 1 ? 1 : 0);
    $('text').focus();
    $('text').setSelectionRange(start + column - 1, start + column - 1);
    $('text').scrollTop = 20 * (line - 5);
  })));
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
    for (const id of ['name', 'after']) $(id).value = '';
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
    if (open) drawJob();
  }, 150);
}
// Time passes for what runs.
setInterval(redraw, 1000);

function navigate(event) {
  const [, name = '', id] = location.hash.split('/');
  const view = ['job', 'submit'].includes(name) ? name : 'queue';
  closeJob();
  for (const other of ['queue', 'job', 'submit']) $(other).hidden = other !== view;
  for (const other of ['queue', 'submit']) $(`to-${other}`).toggleAttribute('aria-current', other === view);
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
