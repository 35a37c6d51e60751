"use strict";

// Replaces elements of the page with those that the agent sends. The agent renders all HTML.

// Milliseconds without an update after which the connection is replaced. The agent sends one every
// second.
const STALE = 5000;
// Milliseconds until the next attempt after the connection has failed or ended.
const RETRY = 3000;

const indicator = document.getElementById("live");
let timer;

function show(state, text) {
  if (indicator.textContent !== text) {
    indicator.textContent = text;
  }
  indicator.className = state;
  document.body.classList.toggle("stale", state !== "connected");
}

// Makes `old` equal to `fresh`, which has the same name. Keeps elements, and with them open details,
// selected text and the position of the page.
function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) {
      old.data = fresh.data;
    }
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) {
      old.removeAttribute(name);
    }
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) {
      old.setAttribute(name, value);
    }
  }
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    let same = next;
    while (same && same.nodeName !== child.nodeName) {
      same = same.nextSibling;
    }
    if (!same) {
      old.insertBefore(child, next);
      continue;
    }
    while (next !== same) {
      next = removed(next);
    }
    next = same.nextSibling;
    patch(same, child);
  }
  while (next) {
    next = removed(next);
  }
}

// Removes a node, and returns the one after it.
function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

// Reloads the page if the agent serves it. Otherwise, the next update tries again.
async function reload() {
  const answer = await fetch("./").catch(() => null);
  if (answer?.ok) {
    location.reload();
  }
}

// Writes values into the slots of an element, by position.
function fill(element, values) {
  for (const slot of element.querySelectorAll("[data-value]")) {
    const value = values[slot.dataset.value];
    if (value === undefined) {
      continue;
    }
    if (slot.firstChild) {
      slot.firstChild.data = value;
    } else {
      slot.append(value);
    }
  }
}

function update({ title, elements, values }) {
  document.title = title;
  for (const { id, html, values } of elements) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const fresh = template.content.firstElementChild;
    fill(fresh, values);
    patch(document.getElementById(id), fresh);
  }
  for (const [id, changed] of Object.entries(values)) {
    fill(document.getElementById(id), changed);
  }
}

function connect() {
  const source = new EventSource("events");
  let problem = null;
  const reconnect = (text, delay) => {
    source.close();
    clearTimeout(timer);
    show("lost", text);
    timer = setTimeout(connect, delay);
  };
  const expect = () => {
    clearTimeout(timer);
    timer = setTimeout(() => reconnect("no updates; reconnecting", 0), STALE);
  };
  source.addEventListener("message", (message) => {
    expect();
    const data = JSON.parse(message.data);
    // A reload of the configuration has added or removed instances, or another version is running.
    if (data.layout !== document.body.dataset.layout) {
      reload();
      return;
    }
    problem = null;
    update(data);
    show("connected", "live");
  });
  source.addEventListener("problem", (message) => {
    problem = message.data;
    show("lost", problem);
    expect();
  });
  source.addEventListener("error", () => reconnect(problem ?? "disconnected; reconnecting", RETRY));
  expect();
}

connect();
