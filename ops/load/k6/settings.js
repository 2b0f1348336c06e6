// What is asked of whom, by variables of the environment. `cargo xtask k6` sets those that a suite of its own
// needs.

const number = (name, otherwise) => {
  const value = Number(__ENV[name] || otherwise);
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name} is no number: ${__ENV[name]}`);
  return value;
};

// "90s", "5m" or "1h", in seconds.
const seconds = (text) => {
  const [, count, unit] = /^(\d+)(s|m|h)$/.exec(text) || [];
  if (!unit) throw new Error(`not a duration such as 90s, 5m or 1h: ${text}`);
  return Number(count) * { s: 1, m: 60, h: 3600 }[unit];
};

// Of each suite: what it does without other words, as REST operations a second, sockets at the same time, and
// how long.
const SUITES = {
  smoke: { rate: 5, sockets: 3, duration: '30s' },
  load: { rate: 150, sockets: 150, duration: '5m' },
  stress: { rate: 600, sockets: 500, duration: '10m' },
  spike: { rate: 600, sockets: 500, duration: '4m' },
  soak: { rate: 80, sockets: 150, duration: '1h' },
};

export const SUITE = __ENV.SUITE || 'smoke';
if (!SUITES[SUITE]) throw new Error(`SUITE is none of ${Object.keys(SUITES).join(', ')}`);
const usual = SUITES[SUITE];

export const BASE = (__ENV.BASE_URL || 'http://127.0.0.1:5000').replace(/\/+$/, '');
export const SOCKET_URL = `${BASE.replace(/^http/, 'ws')}/connection/websocket`;
// Where the nodes' metrics are, divided by commas; nothing is read of them if it is empty.
export const METRICS = (__ENV.METRICS_URL ?? `${BASE}/metrics`).split(',').filter(Boolean);
export const RATE = number('RATE', usual.rate);
export const SOCKETS = number('VUS', usual.sockets);
export const DURATION = seconds(__ENV.DURATION || usual.duration);
// Callers that wait for answers at the same time. When all do, the generator is the limit and the result is
// refused.
export const CALLERS = number('CALLERS', Math.max(20, Math.ceil(RATE)));
// The least share of reads that the cache answers; 0 where the nodes have none.
export const CACHE_HIT_RATE = number('CACHE_HIT_RATE', 0);
export const SUMMARY = __ENV.SUMMARY || 'k6-summary.json';

// Who acts: users whose tokens are signed here with the server's secret, or who log in.
export const SECRET = __ENV.SECRET || '';
export const LOGIN = {
  // `{}` stands for the number of a user.
  email: __ENV.LOGIN_EMAIL || 'dancer1.{}@seed.example',
  password: __ENV.LOGIN_PASSWORD || '',
  users: number('LOGIN_USERS', 20),
};
if (!SECRET && !LOGIN.password) throw new Error('set SECRET (auth.secret of the server) or LOGIN_PASSWORD');
