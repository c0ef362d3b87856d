// What the page's tests and its figures have in common: the program as a server, Debian's Chromium, and a proxy that can
// say other things than the server does. Who needs them and has no browser, or no packages, ends with ctest's word for
// skipped.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import http from 'node:http';

const kSkipped = 77; // ctest's word for it, see CMakeLists.txt
const kBrowsers = ['/usr/bin/chromium', '/usr/bin/chromium-browser'];
export const root = new URL('../../', import.meta.url).pathname;
export const program = process.env.LOADLINE_PROGRAM ?? `${root}build/release/loadline`;
// Only against hanging for ever: a machine that does other things too may be slow.
export const kPatience = Number(process.env.LOADLINE_PATIENCE ?? 240_000); // ms

function skip(why) {
  console.log(`skipped: ${why}`);
  process.exit(kSkipped);
}

const browserPath = kBrowsers.find(existsSync);
let chromium;
try {
  ({ chromium } = await import('playwright-core'));
} catch {
  skip('the npm packages of tests/web are missing (./dev setup fetches them)');
}
if (!browserPath) skip('chromium is missing (./dev setup installs it)');

export const launch = () =>
  chromium.launch({ executablePath: browserPath, timeout: kPatience, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });

// Asks until it is so.
export async function until(holds) {
  const pause = () => new Promise((done) => setTimeout(done, 25));
  while (!(await holds())) await pause();
}

export async function serve(...given) {
  const child = spawn(program, ['serve', '--port', '0', '-t', '1', '-c', '65536', '--log-disable', ...given], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  const url = await new Promise((found, failed) => {
    child.once('exit', (code) => failed(new Error(`the server ended with ${code}`)));
    child.stdout.on('data', (data) => {
      said += data;
      const line = /^(http:\S+)\n/.exec(said);
      if (line) found(line[1]);
    });
  });
  await until(async () => (await fetch(`${url}/health`)).status !== 503);
  const close = () =>
    new Promise((done) => {
      child.once('exit', done);
      child.kill('SIGKILL');
    });
  const get = async (path) => (await fetch(`${url}${path}`)).json();
  return { url, close, get, pid: child.pid };
}

// A server in front of another one, which `to` replaces; null: it is away. `answer` may answer a request itself, and is
// then true; `event` may change what an event of the state says.
export async function proxy(server, { answer = () => false, event = (state) => state } = {}) {
  let { hostname, port } = new URL(server.url);
  let away = false;
  const own = http.createServer((request, response) => {
    if (away) return request.socket.destroy();
    if (answer(request, response)) return;
    const on = http.request({ hostname, port, path: request.url, method: request.method, headers: request.headers }, (from) => {
      response.writeHead(from.statusCode, from.headers);
      if (request.url !== '/api/loadline/events') return from.pipe(response);
      let rest = '';
      from.on('data', (data) => {
        rest += data;
        for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
          const said = JSON.parse(rest.slice(rest.indexOf('data:') + 5, end));
          rest = rest.slice(end + 2);
          response.write(`event: state\ndata: ${JSON.stringify(event(said))}\n\n`);
        }
      });
      from.on('end', () => response.end());
    });
    on.on('error', () => response.destroy());
    response.on('close', () => on.destroy());
    request.pipe(on);
  });
  await new Promise((done) => own.listen(0, '127.0.0.1', done));
  const close = () =>
    new Promise((done) => {
      own.close(done);
      own.closeAllConnections();
    });
  const to = (next) => {
    away = next === null;
    if (away) own.closeAllConnections();
    else ({ hostname, port } = new URL(next.url));
  };
  return { url: `http://127.0.0.1:${own.address().port}`, close, to, get: server.get };
}
