// Tokens: signed with the server's secret, as the server signs its own (HS256), or got by logging in.

import { hmac } from 'k6/crypto';
import encoding from 'k6/encoding';
import http from 'k6/http';

import { BASE, LOGIN, SECRET } from './settings.js';

const SECONDS = 24 * 3600;
const HEADER = encoding.b64encode(JSON.stringify({ alg: 'HS256', typ: 'JWT' }), 'rawurl');

export const sign = (user) => {
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + SECONDS };
  const signed = `${HEADER}.${encoding.b64encode(JSON.stringify(claims), 'rawurl')}`;
  return `${signed}.${hmac('sha256', SECRET, signed, 'base64rawurl')}`;
};

// Users who logged in: [{id, token}, …].
export const logIn = () => {
  const users = [];
  for (let number = 1; number <= LOGIN.users; number += 1) {
    const body = JSON.stringify({ email: LOGIN.email.replace('{}', number), password: LOGIN.password });
    const params = { headers: { 'content-type': 'application/json' }, tags: { kind: 'setup' } };
    const answer = http.post(`${BASE}/api/auth/login`, body, params);
    if (answer.status !== 200) throw new Error(`login of ${number}: ${answer.status} ${answer.body}`);
    users.push({ id: answer.json('user.id'), token: answer.json('token') });
  }
  return users;
};

// A user's token, made once for each caller and user.
const made = new Map();
export const tokenOf = (user) => {
  if (user.token) return user.token;
  if (!made.has(user.id)) {
    // What a caller keeps is bounded.
    if (made.size >= 1000) made.clear();
    made.set(user.id, sign(user.id));
  }
  return made.get(user.id);
};
