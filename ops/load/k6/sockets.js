// One socket's life: connect, subscribe, call, be cut, come back and miss nothing. The client protocol as
// JSON.

import { check } from 'k6';
import exec from 'k6/execution';
// Its name until k6 1.2; it lets many sockets share a caller's event loop, which the older `k6/ws` does not.
import { WebSocket } from 'k6/experimental/websockets';

import {
  cutByServer, errors, publications, recovered, socketDelivery, socketReady, socketRpc,
} from './figures.js';
import { DURATION, SOCKET_URL } from './settings.js';
import { tokenOf } from './tokens.js';
import { someEvent, somePost, somebody } from './world.js';

// A socket cannot outlive its iteration, so iterations are as long as a visit, and short enough for a short
// run.
const LIFE_MS = Math.min(60, DURATION / 3) * 1000;
// Between two calls of a session.
const THINK_MS = Math.max(1000, LIFE_MS / 10);
// Longest wait for an answer.
const PATIENCE_MS = 30000;
// How long the client is away after it was cut.
const AWAY_MS = 500;

class Session {
  constructor(token, positions, ready) {
    this.token = token;
    this.positions = positions;
    this.waiting = new Map();
    this.nextId = 1;
    this.begin = Date.now();
    this.ending = false;
    this.listeners = new Set();
    this.socket = new WebSocket(SOCKET_URL);
    this.socket.onopen = () => this.open(ready);
    this.socket.onmessage = (event) => {
      event.data.split('\n').filter(Boolean).forEach((line) => this.hear(JSON.parse(line)));
    };
    this.socket.onerror = () => this.ending || errors.add(true);
    this.socket.onclose = () => {
      if (!this.ending) cutByServer.add(1);
      this.waiting.forEach(({ timer }) => clearTimeout(timer));
    };
  }

  // Sends a command and hands its reply on; `null` if none came in time.
  send(command, then) {
    const id = this.nextId;
    this.nextId += 1;
    const timer = setTimeout(() => {
      this.waiting.delete(id);
      errors.add(true);
      then(null);
    }, PATIENCE_MS);
    this.waiting.set(id, { then, timer });
    this.socket.send(JSON.stringify({ id, ...command }));
  }

  open(ready) {
    this.send({ connect: { token: this.token } }, (reply) => {
      const isIn = check(reply, { 'a socket connects': (reply) => Boolean(reply && reply.connect) });
      errors.add(!isIn);
      if (!isIn) return this.close();
      let left = this.positions.size;
      this.positions.forEach((position, channel) => this.subscribe(channel, position, () => {
        left -= 1;
        if (left === 0) {
          socketReady.add(Date.now() - this.begin);
          ready(this);
        }
      }));
    });
  }

  subscribe(channel, position, then) {
    const again = position ? { recover: true, offset: position.offset, epoch: position.epoch } : {};
    this.send({ subscribe: { channel, ...again } }, (reply) => {
      const answer = reply && reply.subscribe;
      const isIn = check(answer, { 'a channel is subscribed': Boolean });
      errors.add(!isIn);
      if (!isIn) return this.close();
      if (position) {
        recovered.add(answer.recovered === true);
        (answer.publications || []).forEach((publication) => this.take(channel, publication));
      }
      this.positions.set(channel, { offset: answer.offset || 0, epoch: answer.epoch });
      then();
    });
  }

  hear(message) {
    if (message.push) {
      const { channel, pub } = message.push;
      if (pub) this.take(channel, pub);
    } else if (message.id) {
      const waiting = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (waiting) {
        clearTimeout(waiting.timer);
        const { error } = message;
        if (error) check(null, { [`error ${error.code}: ${error.message}`]: () => false });
        waiting.then(message);
      }
    } else {
      // A ping.
      this.socket.send('{}');
    }
  }

  take(channel, publication) {
    publications.add(1);
    const position = this.positions.get(channel);
    if (position && publication.offset) position.offset = publication.offset;
    this.listeners.forEach((listener) => listener(channel, publication.data));
  }

  rpc(method, data, then) {
    const begin = Date.now();
    this.send({ rpc: { method, data } }, (reply) => {
      if (this.ending) return;
      const isAnswered = check(reply, { 'an RPC is answered': (reply) => Boolean(reply && reply.rpc) });
      errors.add(!isAnswered);
      if (isAnswered) socketRpc.add(Date.now() - begin);
      if (then && isAnswered) then(reply.rpc.data);
    });
  }

  // Writes a post and waits until it comes as everybody gets it.
  post() {
    const begin = Date.now();
    const content = `A post by socket, ${exec.vu.idInTest} at ${begin}.`;
    const hear = (channel, data) => {
      if (channel === 'posts:feed' && data.post && data.post.content === content) {
        this.listeners.delete(hear);
        socketDelivery.add(Date.now() - begin);
      }
    };
    this.listeners.add(hear);
    this.rpc('POST /api/posts', { content });
  }

  // Ends the socket without a word, as a network does.
  close() {
    this.ending = true;
    this.socket.close();
  }
}

const act = (session, world) => {
  const point = Math.random();
  if (point < 0.6) session.rpc(`GET /api/events/${someEvent(world)}`, null);
  else if (point < 0.85) session.rpc(`POST /api/posts/${somePost(world)}/react`, { reactionType: 'like' });
  else if (point < 0.95) session.rpc(`POST /api/events/${someEvent(world)}/rsvp`, { status: 'maybe' });
  else session.post();
};

// Lets a session act until a time, then ends it and goes on.
const live = (session, world, until, then) => {
  const step = () => {
    if (session.ending) return;
    if (Date.now() >= until) {
      session.close();
      then();
      return;
    }
    act(session, world);
    setTimeout(step, THINK_MS * (0.5 + Math.random()));
  };
  setTimeout(step, THINK_MS * Math.random());
};

export const visit = (world) => {
  const token = tokenOf(somebody(world));
  const channels = ['posts:feed', 'events:all', `event:${someEvent(world)}`, `post:${somePost(world)}`];
  const positions = new Map([...new Set(channels)].map((channel) => [channel, null]));
  const begin = Date.now();
  // The halves of a visit, and between them a moment without a network.
  new Session(token, positions, (session) => live(session, world, begin + LIFE_MS / 2, () => {
    setTimeout(() => {
      new Session(token, positions, (again) => live(again, world, begin + LIFE_MS, () => {}));
    }, AWAY_MS);
  }));
};
