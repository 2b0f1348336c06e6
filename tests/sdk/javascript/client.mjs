// Drives the official JavaScript SDK for a test: one connection and one subscription, told what to do by JSON lines on
// standard input, telling what happens by JSON lines on standard output. `../python/client.py` keeps the same contract.
//
// Argument: {"url", "token", "channel", "transport": "json" | "protobuf" | "sse" | "http_stream", "freshToken", "delta"}.
// Input: {"do": "publish" | "batch" | "rpc" | "presence" | "presenceStats" | "history" | "subscribe" | "unsubscribe" | "quit", …}.
// Output: {"event": "connected" | "subscribed" | "publication" | … | "reply", …}.

import { createInterface } from 'node:readline';
import { Centrifuge as JsonCentrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';

// A test that hangs must not leave a process behind.
setTimeout(() => process.exit(3), 120_000).unref();

const { url, token, channel, transport, freshToken, delta } = JSON.parse(process.argv[2]);
const protobuf = transport === 'protobuf';
const tell = (event, fields) => process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');
const encode = (data) => (protobuf ? new TextEncoder().encode(JSON.stringify(data)) : data);
const decode = (data) => {
  if (!protobuf || data === undefined || data === null) return data;
  const text = new TextDecoder().decode(data);
  return text === '' ? null : JSON.parse(text);
};
const publication = (p) => ({ data: decode(p.data), offset: p.offset, user: p.info?.user, channel: p.channel });

const endpoints = {
  json: url,
  protobuf: url,
  sse: [{ transport: 'sse', endpoint: `${url}/connection/sse` }],
  http_stream: [{ transport: 'http_stream', endpoint: `${url}/connection/http_stream` }],
};
const getToken = async () => {
  tell('tokenWanted', {});
  return freshToken;
};
const options = {
  token,
  ...(freshToken && { getToken }),
  websocket: WebSocket,
  eventsource: EventSource,
  fetch,
  readableStream: ReadableStream,
  emulationEndpoint: `${url}/emulation`,
  minReconnectDelay: 50,
};
const Client = protobuf ? ProtobufCentrifuge : JsonCentrifuge;
const client = new Client(endpoints[transport], options);
client.on('connecting', ({ code, reason }) => tell('connecting', { code, reason }));
client.on('connected', (context) => tell('connected', { client: context.client, version: context.version }));
client.on('disconnected', ({ code, reason }) => tell('disconnected', { code, reason }));
client.on('error', ({ error }) => tell('error', error));
client.on('subscribed', ({ channel }) => tell('serverSubscribed', { channel }));
client.on('publication', (context) => tell('serverPublication', publication(context)));

client.on('message', ({ data }) => tell('message', { data: decode(data) }));
client.on('unsubscribed', ({ channel }) => tell('serverUnsubscribed', { channel }));
const subscription = client.newSubscription(channel, delta ? { delta: 'fossil' } : {});
subscription.on('subscribing', ({ code, reason }) => tell('subscribing', { code, reason }));
subscription.on('subscribed', ({ wasRecovering, recovered }) => tell('subscribed', { wasRecovering, recovered }));
subscription.on('unsubscribed', ({ code, reason }) => tell('unsubscribed', { code, reason }));
subscription.on('error', ({ error }) => tell('error', error));
subscription.on('publication', (context) => tell('publication', publication(context)));

const actions = {
  publish: ({ channel, data }) => client.publish(channel, encode(data)),
  batch: async ({ items }) => {
    client.startBatching();
    const done = items.map((data) => client.publish(channel, encode(data)));
    client.stopBatching();
    await Promise.all(done);
  },
  rpc: async ({ method, data }) => decode((await client.rpc(method, encode(data))).data),
  presence: async () => Object.values((await subscription.presence()).clients).map(({ user }) => user),
  presenceStats: () => subscription.presenceStats(),
  history: async ({ limit }) => (await subscription.history({ limit })).publications.map(publication),
  subscribe: async () => subscription.subscribe(),
  unsubscribe: async () => subscription.unsubscribe(),
  quit: async () => {
    client.disconnect();
    process.exit(0);
  },
};

createInterface({ input: process.stdin }).on('line', async (line) => {
  const command = JSON.parse(line);
  try {
    const result = await actions[command.do](command);
    tell('reply', { do: command.do, ok: true, result: result ?? null });
  } catch (error) {
    tell('reply', { do: command.do, ok: false, code: error.code, message: error.message });
  }
}).on('close', () => process.exit(0));

subscription.subscribe();
client.connect();
