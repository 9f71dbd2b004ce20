// node shoot.mjs DIRECTORY: a picture, NAME.png, of each NAME.json in it ({dashboard, moment}).
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { createServer } from 'node:http';
import { mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const directory = process.argv[2];
// Their ES modules take the default export of what is still CommonJS for what it is not.
const alias = Object.fromEntries(
  ['data', 'schema', 'ui'].map((name) => [`@grafana/${name}`, `./node_modules/@grafana/${name}/dist/cjs/index.cjs`]),
);
const bundle = await build({
  alias,
  entryPoints: ['page.jsx'],
  bundle: true,
  write: false,
  outfile: 'page.js',
  jsx: 'automatic',
  loader: { '.ttf': 'empty', '.woff': 'dataurl', '.woff2': 'dataurl' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  logLevel: 'error',
});
const files = Object.fromEntries(
  bundle.outputFiles.map(({ path, contents }) => [path.endsWith('.css') ? '/page.css' : '/page.js', contents]),
);
const html =
  '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/page.css"><div id="root"></div><script src="/page.js"></script>';
const server = createServer(({ url }, answer) => {
  if (url === '/') answer.setHeader('content-type', 'text/html').end(html);
  else if (files[url])
    answer.setHeader('content-type', url.endsWith('css') ? 'text/css' : 'text/javascript').end(files[url]);
  else answer.writeHead(404).end();
});
await new Promise((up) => server.listen(0, '127.0.0.1', up));

const browser = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), 'kiln-chromium-')), {
  executablePath: '/usr/bin/chromium',
  headless: true,
  viewport: { width: 1600, height: 950 },
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
let wrong = 0;
for (const file of readdirSync(directory).filter((name) => name.endsWith('.json'))) {
  const { dashboard, moment } = JSON.parse(readFileSync(join(directory, file)));
  const page = await browser.newPage();
  page.on('pageerror', (error) => {
    wrong += 1;
    console.log(`${file}: ${error.stack}`);
  });
  page.on('console', (message) => {
    // Icons are in Grafana, not in the package.
    if (message.type() === 'error' && !message.text().includes('404')) console.log(`${file}: ${message.text()}`);
  });
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.evaluate(([dashboard, moment]) => window.show(dashboard, moment), [dashboard, moment]);
  await page.waitForFunction((count) => window.drawn === count, dashboard.panels.length);
  // Graphs, which take their size from the page, are there a frame later.
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(frame);
  await page.locator('#dashboard').screenshot({ path: join(directory, file.replace('.json', '.png')) });
  await page.close();
}
await browser.close();
server.close();
process.exit(wrong ? 1 : 0);
