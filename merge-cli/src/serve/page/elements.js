// Elements of the page: made, and changed only where they differ.

export const $ = (id) => document.getElementById(id);

/** A new element; its children are text or elements. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Changes text only where it differs, so that selections and screen readers are left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Text that may be absent. */
export function maybe(node, text) {
  node.hidden = !text;
  say(node, text ?? '');
}

export function setBar(bar, value) {
  bar.hidden = value == null;
  if (value != null) bar.value = value;
}

export function button(text, act, attributes = {}) {
  const node = make('button', { type: 'button', ...attributes }, text);
  node.onclick = act;
  return node;
}

/** Asks whether something is meant. */
export function sure(title, text, yes) {
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
