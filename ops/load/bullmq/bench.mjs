// BullMQ as its users write it, measured as `jobs/benches/queue.rs` measures ours. Argument: JSON, see `main`. Prints one
// line of JSON, with the fields of ours.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

/** How long jobs come at a rate, as in ours. */
const RATE_MILLIS = 5_000;
/** Jobs before anything is measured, by which the engine has compiled what it will. */
const WARM_UP_JOBS = 5_000;
/** Jobs that `bulk` puts at once. */
const BULK = 100;
/** How often workers in processes of their own say how much is done. */
const TELL_MILLIS = 5;
/** Longest time in which nothing at all gets done. */
const PATIENCE_MILLIS = 60_000;
/** The job that its worker does not survive takes so long. */
const LOST_JOB_MILLIS = 60_000;
/** When its worker is killed, after its begin: spread over the 30 s between two looks for such jobs. */
const KILL_AFTER_MILLIS = [20_000, 26_000, 32_000, 38_000, 44_000];
/** No other worker begins it after more than this: its lock and two looks for such jobs, each 30 s, and time to spare. */
const MAX_RECOVERY_MILLIS = 120_000;
/** A process' time is told in these (`getconf CLK_TCK`). */
const TICK_MICROS = 10_000;

/** Microseconds of a clock that all processes share. */
const now = () => Number(process.hrtime.bigint() / 1_000n);

/** CPU time that processes have used, in microseconds. */
function cpu(pids) {
  const ticks = pids.map((pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, one) => sum + one, 0) * TICK_MICROS;
}

let fail;
/** Never ends well: what went wrong beside what is waited for. */
const failure = new Promise((_, reject) => (fail = reject));

/** A worker in this process; what it has done, and how long in milliseconds after it was put there each job began. */
class OwnWorker {
  done = 0;
  delays = [];

  constructor({ name, redis, workers, takes_millis: takes = 0 }, began = () => {}) {
    this.redis = new Redis(redis, { maxRetriesPerRequest: null });
    const run = async (job) => {
      this.delays.push((now() - job.data.at) / 1e3);
      began();
      if (takes > 0) await sleep(takes);
    };
    // All else is as BullMQ has it by default.
    this.worker = new Worker(name, run, { connection: this.redis, concurrency: workers });
    this.worker.on('completed', () => (this.done += 1));
    this.worker.on('failed', (_, error) => fail(error));
    this.worker.on('error', fail);
  }

  pids = () => [process.pid];
  ready = () => this.worker.waitUntilReady();
  takeDelays = async () => this.delays.splice(0);

  async close() {
    await this.worker.close();
    this.redis.disconnect();
  }
}

/** Workers in processes of their own, with the same to ask for. */
class ForkedWorkers {
  constructor(options) {
    const workers = Math.ceil(options.workers / options.processes);
    this.children = Array.from({ length: options.processes }, () => forked({ ...options, workers }));
    this.told = this.children.map(() => 0);
    this.children.forEach((child, which) => {
      child.on('message', ({ done }) => done !== undefined && (this.told[which] = done));
    });
  }

  get done() {
    return this.told.reduce((sum, one) => sum + one, 0);
  }

  pids = () => [process.pid, ...this.children.map((child) => child.pid)];
  ready = () => Promise.all(this.children.map((child) => message(child, 'ready')));

  async takeDelays() {
    const all = this.children.map((child) => {
      const delays = message(child, 'delays');
      child.send('delays');
      return delays;
    });
    return (await Promise.all(all)).flatMap(({ delays }) => delays);
  }

  async close() {
    const ended = this.children.map((child) => once(child, 'exit'));
    for (const child of this.children) child.send('close');
    await Promise.all(ended);
  }
}

/** A process that is a worker. */
function forked(options) {
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify({ ...options, is_worker: true })]);
  child.on('exit', (code, signal) => {
    if (code !== 0 && signal !== 'SIGKILL') fail(new Error(`a worker process ended with ${code ?? signal}`));
  });
  return child;
}

/** The next message of a process that has this field. */
function message(child, field) {
  return new Promise((resolve) => {
    const listen = (told) => {
      if (!(field in told)) return;
      child.off('message', listen);
      resolve(told);
    };
    child.on('message', listen);
  });
}

/** Works for the parent process, until it is told to end or its parent has ended. */
async function work(options) {
  process.once('disconnect', () => process.exit());
  const worker = new OwnWorker(options, () => options.tells_begin && process.send({ began: now() }));
  await worker.ready();
  process.send({ ready: true });
  let told = 0;
  const telling = setInterval(() => {
    if (worker.done !== told) process.send({ done: (told = worker.done) });
  }, TELL_MILLIS);
  process.on('message', async (asked) => {
    if (asked === 'delays') return process.send({ delays: await worker.takeDelays() });
    clearInterval(telling);
    await worker.close();
    process.disconnect();
  });
  await failure;
}

/** Waits until so many are done. */
async function waitFor(workers, jobs) {
  let [last, at] = [workers.done, now()];
  while (workers.done < jobs) {
    await sleep(1);
    if (workers.done !== last) [last, at] = [workers.done, now()];
    if (now() - at > PATIENCE_MILLIS * 1e3) throw new Error(`${last} of ${jobs} were done, and then none`);
  }
}

const JOB_OPTIONS = { removeOnComplete: true };
const put = (queue) => queue.add('job', { at: now() }, JOB_OPTIONS);
const putBulk = (queue, jobs) =>
  queue.addBulk(Array.from({ length: jobs }, () => ({ name: 'job', data: { at: now() }, opts: JOB_OPTIONS })));

/** As many as `callers` put there, each as soon as the one before is acknowledged. */
async function putAll(queue, { jobs, callers, bulk }) {
  const each = Math.floor(jobs / callers);
  const caller = async () => {
    for (let left = each; left > 0; ) {
      const atOnce = bulk ? Math.min(BULK, left) : 1;
      await (bulk ? putBulk(queue, atOnce) : put(queue));
      left -= atOnce;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
}

/** Jobs a second from the first that is put until the last is written down as done. */
async function throughput(queue, workers, options) {
  const { what, callers, redis_pid } = options;
  const jobs = Math.floor(options.jobs / callers) * callers;
  const pids = [...workers.pids(), ...(redis_pid ? [redis_pid] : [])];
  const [before, start, used] = [workers.done, now(), cpu(pids)];
  await putAll(queue, options);
  const putMicros = now() - start;
  await waitFor(workers, before + jobs);
  const allMicros = now() - start;
  return {
    what,
    workers: options.workers,
    callers,
    jobs,
    put_per_second: Math.round((jobs / putMicros) * 1e6),
    done_per_second: Math.round((jobs / allMicros) * 1e6),
    cpu_micros_per_job: Math.round(((cpu(pids) - used) / jobs) * 10) / 10,
  };
}

/** How long jobs wait until they begin, where they come at a rate. */
async function delay(queue, workers, { what, workers: count, per_second }) {
  await workers.takeDelays();
  const before = workers.done;
  const start = now();
  const putting = [];
  for (let passed = 0; passed < RATE_MILLIS * 1e3; passed = now() - start) {
    const wanted = Math.floor((passed / 1e6) * per_second);
    while (putting.length < wanted) putting.push(put(queue));
    await sleep(1);
  }
  await Promise.all(putting);
  await waitFor(workers, before + putting.length);
  const delays = (await workers.takeDelays()).sort((one, other) => one - other);
  const at = (part) => Math.round((delays[Math.floor(delays.length * part)] ?? 0) * 100) / 100;
  return {
    what,
    workers: count,
    per_second: Math.round(per_second),
    start_p50_millis: at(0.5),
    start_p99_millis: at(0.99),
  };
}

/** How long after its worker was killed a job begins again on another one, in milliseconds. */
async function recovered(options, name, killAfter) {
  const ofOne = { ...options, name, workers: 1, takes_millis: LOST_JOB_MILLIS, tells_begin: true };
  const [connection, lost] = [new Redis(options.redis), forked(ofOne)];
  const queue = new Queue(name, { connection });
  let other;
  try {
    await message(lost, 'ready');
    const begins = message(lost, 'began');
    await put(queue);
    const { began } = await begins;
    // Only now, so that it is not this one that has the job first.
    other = forked(ofOne);
    const beginsAgain = message(other, 'began');
    await sleep(killAfter - (now() - began) / 1e3);
    const ended = once(lost, 'exit');
    lost.kill('SIGKILL');
    const killed = now();
    await ended;
    const again = await Promise.race([beginsAgain, sleep(MAX_RECOVERY_MILLIS, undefined, { ref: false })]);
    if (!again) throw new Error(`no other worker has begun the job after ${MAX_RECOVERY_MILLIS} ms`);
    return (again.began - killed) / 1e3;
  } finally {
    lost.kill('SIGKILL');
    other?.kill('SIGKILL');
    await queue.obliterate({ force: true });
    await queue.close();
    connection.disconnect();
  }
}

/** The same several times at once: they only wait. */
async function recovery(options) {
  const tries = KILL_AFTER_MILLIS.map((after) => recovered(options, `${options.name}-${after}`, after));
  const seconds = (await Promise.all(tries)).sort((one, other) => one - other).map((millis) => millis / 1e3);
  const round = (value) => Math.round(value * 10) / 10;
  return {
    what: options.what,
    tries: seconds.length,
    least_seconds: round(seconds[0]),
    mean_seconds: round(seconds.reduce((sum, one) => sum + one, 0) / seconds.length),
    most_seconds: round(seconds.at(-1)),
  };
}

/** Lets the server sync each write before it acknowledges it, if wanted, and puts its settings back afterwards. */
async function withDurability(redis, fsync, measure) {
  if (!fsync) return Promise.race([measure(), failure]);
  const wanted = { appendfsync: 'always', appendonly: 'yes' };
  const before = [];
  for (const name of Object.keys(wanted)) before.push((await redis.config('GET', name)).slice(0, 2));
  try {
    for (const [name, value] of Object.entries(wanted)) await redis.config('SET', name, value);
    // Until it has written down what it holds, it syncs nothing.
    while (!/aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0/.test(await redis.info('persistence'))) await sleep(10);
    return await Promise.race([measure(), failure]);
  } finally {
    for (const [name, value] of before) await redis.config('SET', name, value);
  }
}

async function measured(options) {
  if (options.mode === 'recovery') return recovery(options);
  const connection = new Redis(options.redis);
  const queue = new Queue(options.name, { connection });
  queue.on('error', fail);
  const workers = options.processes > 0 ? new ForkedWorkers(options) : new OwnWorker(options);
  try {
    await Promise.all([queue.waitUntilReady(), workers.ready()]);
    const callers = Math.min(options.callers ?? 64, WARM_UP_JOBS);
    const warmUp = Math.floor((options.warm_up_jobs ?? WARM_UP_JOBS) / callers) * callers;
    await putAll(queue, { ...options, callers, jobs: warmUp });
    await waitFor(workers, warmUp);
    return await (options.per_second ? delay : throughput)(queue, workers, options);
  } finally {
    await workers.close();
    await queue.obliterate({ force: true });
    await queue.close();
    connection.disconnect();
  }
}

/**
 * The options: `redis` (its URL), `redis_pid`, `what` (printed as it is), `jobs`, `callers`, `workers`, `takes_millis`,
 * `per_second` (instead of jobs: come at this rate), `processes` (for the workers; 0: this one), `bulk` (put 100 at once),
 * `fsync` (Redis syncs before it acknowledges), `mode`: "recovery" (kills workers), `warm_up_jobs`.
 */
async function main(options) {
  options.name = `bench-${process.pid}-${Date.now()}`;
  const redis = new Redis(options.redis, { maxRetriesPerRequest: 1 });
  redis.on('error', fail);
  const report = await withDurability(redis, options.fsync, () => measured(options));
  console.log(JSON.stringify(report));
  redis.disconnect();
}

const options = JSON.parse(process.argv[2] ?? '{}');
(options.is_worker ? Promise.race([work(options), failure]) : main(options)).catch((error) => {
  console.error(error);
  process.exit(1);
});
