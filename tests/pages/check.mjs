// Looks at /docs (Swagger UI) and /redoc (ReDoc) of the real binary in a real browser: `make pages`.
//
// A page passes when it shows every operation and tag of /openapi.json, asks nobody but its own
// server for anything, and logs no error. In Swagger UI, "Try it out" must also get a 200 from
// GET /health. So it must behind a proxy that has the server under a prefix, and with a slash at its end.
// Screenshots go to target/pages, for people to look at.
//
// Usage: node tests/pages/check.mjs [BINARY]      default: target/debug/latchkey

import { spawn } from 'node:child_process';
import { createServer, request as forward } from 'node:http';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BINARY = resolve(process.argv[2] ?? join(ROOT, 'target/debug/latchkey'));
const SCREENSHOTS = join(ROOT, 'target/pages');

const START_MS = 30_000; // until the binary says that it is ready
const STOP_MS = 15_000; // from SIGTERM to the end of the process
const PAGE_MS = 20_000; // for anything to appear on a page
const MIN_PNG_BYTES = 15_000; // an empty page of this size compresses to about 5 kB

// The pages are opened under a public-looking name: Swagger UI sends a specification to an online
// validator unless it came from localhost, and that must not stay hidden from this check.
const HOST = 'latchkey.test';
const BROWSER = {
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    `--host-resolver-rules=MAP ${HOST} 127.0.0.1`,
  ],
};

// Without these a specification is not ours, whatever else it describes.
const REQUIRED = ['POST /auth/signup', 'POST /auth/login', 'GET /health'];
const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];

const PAGES = [
  {
    path: '/docs',
    name: 'docs',
    container: '.swagger-ui',
    operations: () =>
      [...document.querySelectorAll('.opblock')]
        .filter((block) => block.checkVisibility())
        .map((block) => {
          const path = block.querySelector('.opblock-summary-path, .opblock-summary-path__deprecated');
          return `${block.querySelector('.opblock-summary-method').textContent.trim()} ${path.dataset.path}`;
        }),
    tags: () => [...document.querySelectorAll('.opblock-tag')].map((tag) => tag.dataset.tag),
    also: tryHealth,
  },
  {
    path: '/redoc',
    name: 'redoc',
    container: '.redoc-wrap',
    operations: () =>
      [...document.querySelectorAll('.api-content .http-verb')]
        .filter((verb) => verb.checkVisibility())
        .map((verb) => `${verb.textContent.trim().toUpperCase()} ${verb.nextElementSibling?.textContent.trim()}`),
    tags: () =>
      [...document.querySelectorAll('.menu-content [data-item-id^="tag/"] > label')].map((tag) =>
        tag.textContent.trim(),
      ),
  },
];

// Where the proxy has the server.
const PREFIX = '/behind/a/prefix';
const VISITS = PAGES.flatMap((page) => [
  { ...page, base: '' },
  { ...page, base: PREFIX, path: `${page.path}/`, name: `${page.name}-prefix` },
]);

/** Starts a proxy before the server at `address` that takes PREFIX off, and has nothing else. */
async function startProxy(address) {
  const { hostname, port } = new URL(address);
  const proxy = createServer((request, response) => {
    if (!request.url.startsWith(`${PREFIX}/`)) {
      response.writeHead(404).end();
      return;
    }
    const { method, headers } = request;
    const path = request.url.slice(PREFIX.length);
    const onward = forward({ hostname, port, method, headers, path }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.once('error', () => response.destroy());
    request.pipe(onward);
  });
  await new Promise((ready) => proxy.listen(0, '127.0.0.1', ready));
  return proxy;
}

/** Starts the binary in a folder of its own; resolves with the process and its address. */
async function startServer(folder) {
  const child = spawn(BINARY, [], {
    cwd: folder,
    // Nothing else is inherited: the settings of whoever runs this must not change the outcome.
    env: {
      PATH: process.env.PATH,
      LISTEN_ADDR: '127.0.0.1:0',
      DATABASE_URL: `sqlite://${folder}/latchkey.db`,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const lines = [];
  const address = new Promise((ready, failed) => {
    const timer = setTimeout(() => fail(`was not ready after ${START_MS} ms`), START_MS);
    function fail(why) {
      clearTimeout(timer);
      failed(new Error([`${BINARY} ${why}`, ...lines.slice(-20)].join('\n  ')));
    }
    child.once('error', (error) => fail(`cannot be started: ${error.message}`));
    // 'close' comes after the last line of stderr, which names the cause; 'exit' may come before.
    child.once('close', (code, signal) => fail(`ended before it was ready: ${signal ?? code}`));
    createInterface({ input: child.stderr }).on('line', (line) => {
      lines.push(line);
      const event = parse(line);
      if (event?.message === 'ready' && event.address) {
        clearTimeout(timer);
        ready(event.address);
      }
    });
  });
  try {
    return { child, address: await address };
  } catch (error) {
    await stopServer(child);
    throw error;
  }
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // not every line has to be JSON
  }
}

async function stopServer(child) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(timer);
}

/** What /openapi.json describes, as "METHOD /path" and as names of tags. */
async function readSpecification(origin) {
  const response = await fetch(`${origin}/openapi.json`);
  if (!response.ok) throw new Error(`/openapi.json answered ${response.status}`);
  const specification = await response.json();
  const operations = new Set();
  const tags = new Set();
  for (const [path, item] of Object.entries(specification.paths ?? {})) {
    for (const method of METHODS.filter((method) => item[method])) {
      operations.add(`${method.toUpperCase()} ${path}`);
      for (const tag of item[method].tags ?? []) tags.add(tag);
    }
  }
  const missing = REQUIRED.filter((operation) => !operations.has(operation));
  if (missing.length > 0) throw new Error(`/openapi.json lacks ${missing.join(', ')}`);
  if (tags.size === 0) throw new Error('/openapi.json has no tags');
  return { operations: [...operations], tags: [...tags] };
}

/** Everything that may not happen while a page is open, gathered as it happens. */
function watch(context, page, origin) {
  const faults = [];
  context.on('request', (request) => {
    if (leaves(request.url(), origin)) faults.push(`asked for ${request.url()}`);
  });
  context.on('response', (response) => {
    if (response.status() >= 400) faults.push(`${response.url()} answered ${response.status()}`);
  });
  page.on('websocket', (socket) => faults.push(`opened ${socket.url()}`));
  page.on('pageerror', (error) => faults.push(`threw ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(`logged ${message.text()} (${message.location().url})`);
  });
  return faults;
}

/** blob: addresses carry the origin that made them; data: addresses reach nobody. */
function leaves(url, origin) {
  const { protocol, origin: target } = new URL(url);
  return protocol !== 'data:' && target !== origin;
}

/** Waits until the page shows all that is wanted; throws with what is still missing. */
async function waitForAll(page, what, shown, wanted) {
  const deadline = Date.now() + PAGE_MS;
  for (;;) {
    const present = new Set(await page.evaluate(shown));
    const missing = wanted.filter((item) => !present.has(item));
    if (missing.length === 0) return;
    if (Date.now() > deadline) throw new Error(`does not show these ${what}: ${missing.join(', ')}`);
    await page.waitForTimeout(100);
  }
}

/** Presses "Try it out" and "Execute" under GET /health, as a reader would. */
async function tryHealth(page) {
  const block = page.locator('.opblock-get').filter({ has: page.locator('[data-path="/health"]') });
  await block.locator('.opblock-summary-control').click();
  await block.locator('.try-out__btn').click();
  await block.locator('.execute').click();
  const status = block.locator('.live-responses-table tbody .response-col_status');
  await status.waitFor();
  const text = (await status.innerText()).trim();
  if (!/^200\b/.test(text)) throw new Error(`"Try it out" on GET /health showed ${text}`);
  return '"Try it out" on GET /health showed 200';
}

async function checkPage(browser, origin, specification, { base, path, name, container, operations, tags, also }) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  try {
    context.setDefaultTimeout(PAGE_MS);
    await context.route((url) => leaves(url, origin), (route) => route.abort());
    const page = await context.newPage();
    const faults = watch(context, page, origin);
    await page.goto(origin + base + path);
    let done;
    try {
      await waitForAll(page, 'operations', operations, specification.operations);
      await waitForAll(page, 'tags', tags, specification.tags);
      const box = await page.locator(container).first().boundingBox();
      if (!box || box.width < 600 || box.height < 400) throw new Error(`${container} has no size to speak of`);
      done = await also?.(page);
      await page.waitForLoadState('networkidle');
    } catch (error) {
      faults.push(error.message);
    }
    const screenshot = join(SCREENSHOTS, `${name}.png`);
    await page.screenshot({ path: screenshot });
    const { size } = await stat(screenshot);
    if (size < MIN_PNG_BYTES) faults.push(`${screenshot} is ${size} bytes, so the page is blank`);
    if (faults.length > 0) throw new Error([...new Set(faults)].join('\n  '));
    return [
      `${specification.operations.length} operations, ${specification.tags.length} tags`,
      ...(done ? [done] : []),
      relative(ROOT, screenshot),
    ].join('; ');
  } finally {
    await context.close();
  }
}

async function checkAll(folder) {
  const { chromium } = createRequire(join(ROOT, 'target/tools/'))('playwright-core');
  await mkdir(SCREENSHOTS, { recursive: true });
  const { child, address } = await startServer(folder);
  let browser;
  let proxy;
  let failed = 0;
  try {
    const specification = await readSpecification(address);
    proxy = await startProxy(address);
    browser = await chromium.launch(BROWSER);
    const origin = (port) => `http://${HOST}:${port}`;
    const origins = { '': origin(new URL(address).port), [PREFIX]: origin(proxy.address().port) };
    for (const page of VISITS) {
      const shown = page.base + page.path;
      try {
        console.log(`ok ${shown}: ${await checkPage(browser, origins[page.base], specification, page)}`);
      } catch (error) {
        failed += 1;
        console.log(`FAILED ${shown}:\n  ${error.message}`);
      }
    }
  } finally {
    await browser?.close();
    proxy?.close();
    proxy?.closeAllConnections();
    await stopServer(child);
  }
  console.log(`${VISITS.length - failed} passed, ${failed} failed`);
  return failed === 0;
}

const folder = await mkdtemp(join(tmpdir(), 'latchkey-pages-'));
try {
  if (!(await checkAll(folder))) process.exitCode = 1;
} catch (error) {
  console.log(`FAILED before a page could be opened: ${error.message}`);
  console.log(`0 passed, ${VISITS.length} failed`);
  process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
