// River as its users write it, measured as `jobs/benches/queue.rs` measures ours. Argument: JSON, see `options`. Prints one
// line of JSON, with the fields of ours.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const (
	// How long jobs come at a rate, as in ours.
	rateTime = 5 * time.Second
	// Jobs before anything is measured.
	warmUpJobs = 2_000
	// Jobs that are put at once, with `bulk`.
	bulkSize = 100
	// Connections that put jobs.
	putConnections = 10
	// Connections of those who work: they fetch jobs, and write down what is done, in batches.
	workConnections = 10
	// Longest time in which nothing at all gets done.
	patience = 60 * time.Second
	// A process' time is told in these (`getconf CLK_TCK`).
	tick = 10 * time.Millisecond
)

type options struct {
	// The URL of a PostgreSQL server, without a database, and its first process.
	Postgres    string `json:"postgres"`
	PostgresPid int    `json:"postgres_pid"`
	// Printed as it is.
	What    string `json:"what"`
	Jobs    int64  `json:"jobs"`
	Callers int64  `json:"callers"`
	Workers int    `json:"workers"`
	// How long a job takes.
	TakesMillis int64 `json:"takes_millis"`
	// Instead of jobs: they come at this rate.
	PerSecond float64 `json:"per_second"`
	// Puts 100 at once.
	Bulk bool `json:"bulk"`
	// Fetches as often as River's own benchmark does.
	Tuned bool `json:"tuned"`
	// A commit waits for the disk.
	Fsync bool `json:"fsync"`
}

// Since this a job says when it was put.
var begin = time.Now()

type jobArgs struct {
	At time.Duration `json:"at"`
}

func (jobArgs) Kind() string { return "job" }

// Counts what is done, and how long after it was put it began.
type worker struct {
	river.WorkerDefaults[jobArgs]

	takes  time.Duration
	done   atomic.Int64
	lock   sync.Mutex
	delays []time.Duration
}

func (w *worker) Work(_ context.Context, job *river.Job[jobArgs]) error {
	delay := time.Since(begin) - job.Args.At
	w.lock.Lock()
	w.delays = append(w.delays, delay)
	w.lock.Unlock()
	if w.takes > 0 {
		time.Sleep(w.takes)
	}
	w.done.Add(1)
	return nil
}

func (w *worker) takeDelays() []time.Duration {
	w.lock.Lock()
	defer w.lock.Unlock()
	delays := w.delays
	w.delays = nil
	return delays
}

// Who puts jobs and who does them, each with connections of their own.
type bench struct {
	putPool, workPool *pgxpool.Pool
	putter, doer      *river.Client[pgx.Tx]
	worker            *worker
}

// Connections of which as many are open all the time as there may be.
func connections(ctx context.Context, database string, most int32, fsync bool) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	config.MinConns, config.MaxConns = most, most
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	if fsync {
		config.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	}
	return pgxpool.NewWithConfig(ctx, config)
}

func start(ctx context.Context, database string, o options) (*bench, error) {
	b := &bench{worker: &worker{takes: time.Duration(o.TakesMillis) * time.Millisecond}}
	var err error
	if b.putPool, err = connections(ctx, database, putConnections, o.Fsync); err != nil {
		return nil, err
	}
	if b.workPool, err = connections(ctx, database, workConnections, o.Fsync); err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(b.putPool), nil)
	if err != nil {
		return nil, err
	}
	if _, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if b.putter, err = river.NewClient(riverpgxv5.New(b.putPool), &river.Config{Logger: logger}); err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, b.worker)
	// All else is as River has it by default.
	config := &river.Config{
		Logger:  logger,
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: o.Workers}},
		Workers: workers,
	}
	if o.Tuned {
		config.FetchCooldown, config.FetchPollInterval = 2*time.Millisecond, 20*time.Millisecond
	}
	if b.doer, err = river.NewClient(riverpgxv5.New(b.workPool), config); err != nil {
		return nil, err
	}
	return b, b.doer.Start(ctx)
}

func (b *bench) put(ctx context.Context) error {
	_, err := b.putter.Insert(ctx, jobArgs{At: time.Since(begin)}, nil)
	return err
}

func (b *bench) putBulk(ctx context.Context, jobs int64) error {
	params := make([]river.InsertManyParams, jobs)
	for index := range params {
		params[index].Args = jobArgs{At: time.Since(begin)}
	}
	_, err := b.putter.InsertManyFast(ctx, params)
	return err
}

// As many as `callers` put there, each as soon as the one before is acknowledged.
func (b *bench) putAll(ctx context.Context, jobs, callers int64, bulk bool) error {
	failures := make(chan error, callers)
	for range callers {
		go func() {
			for left := jobs / callers; left > 0; {
				atOnce, err := int64(1), error(nil)
				if bulk {
					atOnce = min(bulkSize, left)
					err = b.putBulk(ctx, atOnce)
				} else {
					err = b.put(ctx)
				}
				if err != nil {
					failures <- err
					return
				}
				left -= atOnce
			}
			failures <- nil
		}()
	}
	var all error
	for range callers {
		all = errors.Join(all, <-failures)
	}
	return all
}

// Waits until so many are done, and all are written down as done, which is a moment later.
func (b *bench) waitFor(ctx context.Context, jobs int64) error {
	last, at := b.worker.done.Load(), time.Now()
	for {
		done := b.worker.done.Load()
		if done >= jobs {
			var left bool
			const query = "select exists (select from river_job where state <> 'completed')"
			if err := b.putPool.QueryRow(ctx, query).Scan(&left); err != nil {
				return err
			}
			if !left {
				return nil
			}
		}
		if done != last {
			last, at = done, time.Now()
		}
		if time.Since(at) > patience {
			return fmt.Errorf("%d of %d were done, and then none", done, jobs)
		}
		time.Sleep(time.Millisecond)
	}
}

// The times of a process in ticks: its own, and those of its children that have ended.
func ticks(pid string) (own, ended int64, err error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ") ")+2:]))
	var times [4]int64
	for index := range times {
		if times[index], err = strconv.ParseInt(fields[11+index], 10, 64); err != nil {
			return 0, 0, err
		}
	}
	return times[0] + times[1], times[2] + times[3], nil
}

// CPU time that this process and a PostgreSQL server have used.
func cpu(postmaster int) (time.Duration, error) {
	sum, _, err := ticks("self")
	if err != nil {
		return 0, err
	}
	server := strconv.Itoa(postmaster)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", server, server))
	if err != nil {
		return 0, err
	}
	own, ended, err := ticks(server)
	if err != nil {
		return 0, err
	}
	// The time of children that have ended, such as autovacuum's workers, is counted where their parent is.
	sum += own + ended
	for _, child := range strings.Fields(string(children)) {
		own, _, err := ticks(child)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			// It has ended meanwhile.
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += own
	}
	return time.Duration(sum) * tick, nil
}

func round(value float64, places int) float64 {
	unit := math.Pow10(places)
	return math.Round(value*unit) / unit
}

// Jobs a second from the first that is put until the last is written down as done.
func (b *bench) throughput(ctx context.Context, o options) (map[string]any, error) {
	jobs := o.Jobs / o.Callers * o.Callers
	before := b.worker.done.Load()
	used, err := cpu(o.PostgresPid)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := b.putAll(ctx, jobs, o.Callers, o.Bulk); err != nil {
		return nil, err
	}
	put := time.Since(start)
	if err := b.waitFor(ctx, before+jobs); err != nil {
		return nil, err
	}
	all := time.Since(start)
	after, err := cpu(o.PostgresPid)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"what": o.What, "workers": o.Workers, "callers": o.Callers, "jobs": jobs,
		"put_per_second":     round(float64(jobs)/put.Seconds(), 0),
		"done_per_second":    round(float64(jobs)/all.Seconds(), 0),
		"cpu_micros_per_job": round(float64((after-used).Microseconds())/float64(jobs), 1),
	}, nil
}

// How long jobs wait until they begin, where they come at a rate.
func (b *bench) delay(ctx context.Context, o options) (map[string]any, error) {
	b.worker.takeDelays()
	before := b.worker.done.Load()
	var putting sync.WaitGroup
	var failed atomic.Pointer[error]
	var put int64
	for start := time.Now(); time.Since(start) < rateTime; time.Sleep(500 * time.Microsecond) {
		for wanted := int64(time.Since(start).Seconds() * o.PerSecond); put < wanted; put++ {
			putting.Go(func() {
				if err := b.put(ctx); err != nil {
					failed.Store(&err)
				}
			})
		}
	}
	putting.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	if err := b.waitFor(ctx, before+put); err != nil {
		return nil, err
	}
	delays := b.worker.takeDelays()
	slices.Sort(delays)
	at := func(part float64) float64 {
		if len(delays) == 0 {
			return 0
		}
		return round(delays[int(float64(len(delays))*part)].Seconds()*1e3, 2)
	}
	return map[string]any{
		"what": o.What, "workers": o.Workers, "per_second": round(o.PerSecond, 0),
		"start_p50_millis": at(0.5), "start_p99_millis": at(0.99),
	}, nil
}

func measured(ctx context.Context, database string, o options) (map[string]any, error) {
	b, err := start(ctx, database, o)
	if err != nil {
		return nil, err
	}
	defer b.putPool.Close()
	defer b.workPool.Close()
	callers := min(cmp.Or(o.Callers, 64), warmUpJobs)
	warmUp := warmUpJobs / callers * callers
	if err := b.putAll(ctx, warmUp, callers, o.Bulk); err != nil {
		return nil, err
	}
	if err := b.waitFor(ctx, warmUp); err != nil {
		return nil, err
	}
	measure := b.throughput
	if o.PerSecond > 0 {
		measure = b.delay
	}
	report, err := measure(ctx, o)
	return report, errors.Join(err, b.doer.Stop(ctx))
}

func run(ctx context.Context) error {
	var o options
	if len(os.Args) != 2 {
		return errors.New("wants one argument: JSON")
	}
	if err := json.Unmarshal([]byte(os.Args[1]), &o); err != nil {
		return err
	}
	server, err := pgx.Connect(ctx, o.Postgres+"/postgres")
	if err != nil {
		return err
	}
	defer server.Close(ctx)
	// Its table's dead rows are no other run's.
	name := fmt.Sprintf("bench_%d_%d", os.Getpid(), time.Now().UnixNano())
	if _, err := server.Exec(ctx, "create database "+name); err != nil {
		return err
	}
	report, err := measured(ctx, o.Postgres+"/"+name, o)
	_, dropped := server.Exec(ctx, "drop database "+name+" with (force)")
	if err := errors.Join(err, dropped); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
