// graphile-worker as its users write it, measured as `jobs/benches/queue.rs` measures ours. Argument: JSON, see `main`.
// Prints one line of JSON, with the fields of ours.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import pg from 'pg';

// It reads this when it is loaded. A line in a log for each job is not what is measured.
process.env.NO_LOG_SUCCESS = '1';
const { Logger, makeWorkerUtils, run } = await import('graphile-worker');

/** How long jobs come at a rate, as in ours. */
const RATE_MILLIS = 5_000;
/** Jobs before anything is measured, by which the engine has compiled what it will. */
const WARM_UP_JOBS = 2_000;
/** Jobs that `bulk` puts at once. */
const BULK = 100;
/** Connections that put jobs. */
const PUT_CONNECTIONS = 10;
/** Longest time in which nothing at all gets done. */
const PATIENCE_MILLIS = 60_000;
/** A server has seen after this that connections are closed. */
const CLOSE_MILLIS = 5_000;
/** A process' time is told in these (`getconf CLK_TCK`). */
const TICK_MICROS = 10_000;
/** How its documentation sets it up where much is to be done (https://worker.graphile.org/docs/performance). */
const TUNED = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

/** Microseconds of a clock that does not jump. */
const now = () => Number(process.hrtime.bigint() / 1_000n);

/** The times of a process: its own in user and kernel mode, and those of its children that have ended. */
function ticks(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
  return fields.slice(11, 15).map(Number);
}

/** CPU time that this process and a PostgreSQL server have used, in microseconds. */
function cpu(postmaster) {
  const [user, kernel] = ticks(process.pid);
  const children = readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8').trim().split(' ');
  let sum = user + kernel;
  // The time of children that have ended, such as autovacuum's workers, is counted where their parent is.
  for (const one of ticks(postmaster)) sum += one;
  for (const pid of children) {
    try {
      const [user, kernel] = ticks(pid);
      sum += user + kernel;
    } catch (error) {
      if (!['ENOENT', 'ESRCH'].includes(error.code)) throw error;
      // It has ended meanwhile.
    }
  }
  return sum * TICK_MICROS;
}

let fail;
/** Never ends well: what went wrong beside what is waited for. */
const failure = new Promise((_, reject) => (fail = reject));

const logger = new Logger(() => (level, message) => {
  if (level === 'error' || level === 'warning') console.error(message);
});

/** Connections that stay open, as the time of a backend that has ended cannot be told from that of others. */
function connections(options, most) {
  const pool = new pg.Pool({
    connectionString: options.database,
    max: most,
    idleTimeoutMillis: 0,
    options: `-c synchronous_commit=${options.fsync ? 'on' : 'off'}`,
  });
  pool.on('error', fail);
  pool.on('connect', (client) => client.on('error', fail));
  return pool;
}

/** Who puts jobs and who does them, each with connections of their own. */
class Bench {
  done = 0;
  delays = [];

  async start(options) {
    this.putPool = connections(options, PUT_CONNECTIONS);
    // One for each job that is worked on, and one that listens.
    this.workPool = connections(options, options.workers + 1);
    this.utils = await makeWorkerUtils({ pgPool: this.putPool, logger });
    await this.utils.migrate();
    const takes = options.takes_millis ?? 0;
    const job = async ({ at }) => {
      this.delays.push((now() - at) / 1e3);
      if (takes > 0) await sleep(takes);
      this.done += 1;
    };
    // All else is as graphile-worker has it by default.
    this.runner = await run({
      pgPool: this.workPool,
      logger,
      taskList: { job },
      noHandleSignals: true,
      preset: { worker: { concurrentJobs: options.workers, ...(options.tuned ? TUNED : {}) } },
    });
    this.runner.events.on('job:error', ({ error }) => fail(error));
    this.runner.events.on('pool:fatalError', ({ error }) => fail(error));
    this.runner.promise.catch(fail);
  }

  takeDelays = () => this.delays.splice(0);
  put = () => this.utils.addJob('job', { at: now() });
  putBulk = (jobs) =>
    this.utils.addJobs(Array.from({ length: jobs }, () => ({ identifier: 'job', payload: { at: now() } })));

  /** As many as `callers` put there, each as soon as the one before is acknowledged. */
  async putAll({ jobs, callers, bulk }) {
    const each = Math.floor(jobs / callers);
    const caller = async () => {
      for (let left = each; left > 0; ) {
        const atOnce = bulk ? Math.min(BULK, left) : 1;
        await (bulk ? this.putBulk(atOnce) : this.put());
        left -= atOnce;
      }
    };
    await Promise.all(Array.from({ length: callers }, caller));
  }

  /** Waits until so many are done, and none is left in the table: it is removed a moment after it was done. */
  async waitFor(jobs) {
    let [last, at] = [this.done, now()];
    const isLeft = async () => {
      const { rows } = await this.putPool.query('select exists (select from graphile_worker._private_jobs) as left');
      return rows[0].left;
    };
    while (this.done < jobs || (await isLeft())) {
      await sleep(1);
      if (this.done !== last) [last, at] = [this.done, now()];
      if (now() - at > PATIENCE_MILLIS * 1e3) throw new Error(`${last} of ${jobs} were done, and then none`);
    }
  }

  async close() {
    await this.runner?.stop();
    await this.utils?.release();
    await Promise.all([this.workPool?.end(), this.putPool?.end()]);
  }
}

/** Jobs a second from the first that is put until the last is written down as done. */
async function throughput(bench, options) {
  const { what, callers, workers, postgres_pid: postmaster } = options;
  const jobs = Math.floor(options.jobs / callers) * callers;
  const [before, start, used] = [bench.done, now(), cpu(postmaster)];
  await bench.putAll(options);
  const putMicros = now() - start;
  await bench.waitFor(before + jobs);
  const allMicros = now() - start;
  return {
    what,
    workers,
    callers,
    jobs,
    put_per_second: Math.round((jobs / putMicros) * 1e6),
    done_per_second: Math.round((jobs / allMicros) * 1e6),
    cpu_micros_per_job: Math.round(((cpu(postmaster) - used) / jobs) * 10) / 10,
  };
}

/** How long jobs wait until they begin, where they come at a rate. */
async function delay(bench, { what, workers, per_second }) {
  bench.takeDelays();
  const before = bench.done;
  const start = now();
  const putting = [];
  for (let passed = 0; passed < RATE_MILLIS * 1e3; passed = now() - start) {
    const wanted = Math.floor((passed / 1e6) * per_second);
    while (putting.length < wanted) putting.push(bench.put());
    await sleep(1);
  }
  await Promise.all(putting);
  await bench.waitFor(before + putting.length);
  const delays = bench.takeDelays().sort((one, other) => one - other);
  const at = (part) => Math.round((delays[Math.floor(delays.length * part)] ?? 0) * 100) / 100;
  return {
    what,
    workers,
    per_second: Math.round(per_second),
    start_p50_millis: at(0.5),
    start_p99_millis: at(0.99),
  };
}

async function measured(options) {
  const bench = new Bench();
  try {
    await bench.start(options);
    const callers = Math.min(options.callers ?? 64, WARM_UP_JOBS);
    const warmUp = Math.floor((options.warm_up_jobs ?? WARM_UP_JOBS) / callers) * callers;
    await bench.putAll({ ...options, callers, jobs: warmUp });
    await bench.waitFor(warmUp);
    return await (options.per_second ? delay : throughput)(bench, options);
  } finally {
    await bench.close();
  }
}

/** Removes a database. Its connections are closed by now, but a server may take a moment to see it. */
async function drop(server, name) {
  const isUsed = async () => {
    const { rows } = await server.query('select from pg_stat_activity where datname = $1', [name]);
    return rows.length > 0;
  };
  for (const start = now(); now() - start < CLOSE_MILLIS * 1e3 && (await isUsed()); ) await sleep(10);
  await server.query(`drop database ${name} with (force)`);
}

/**
 * The options: `postgres` (the URL of a server, without a database), `postgres_pid`, `what` (printed as it is), `jobs`,
 * `callers`, `workers`, `takes_millis`, `per_second` (instead of jobs: come at this rate), `bulk` (put 100 at once),
 * `tuned` (as its documentation has it for much work), `fsync` (a commit waits for the disk), `warm_up_jobs`.
 */
async function main(options) {
  // Its table's dead rows are no other run's.
  const name = `bench_${process.pid}_${Date.now()}`;
  const server = new pg.Client({ connectionString: `${options.postgres}/postgres` });
  server.on('error', fail);
  await server.connect();
  await server.query(`create database ${name}`);
  try {
    const report = await Promise.race([measured({ ...options, database: `${options.postgres}/${name}` }), failure]);
    console.log(JSON.stringify(report));
  } finally {
    await drop(server, name);
    await server.end();
  }
}

main(JSON.parse(process.argv[2] ?? '{}')).then(
  () => process.exit(),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
