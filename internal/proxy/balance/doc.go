// Package balance decides which member of a pool the next request goes to, and which members get none for a while
// because of what was seen of them.
//
// It owns the counts in flight, the short memory of answers and failures, slow starts, ejections and the budget of
// retries. It never opens a connection, never reads a clock, never starts a goroutine and never knows what a task is:
// the caller reports what became of each request and gives the time, as a duration on any monotonic clock, the same
// for all members of a pool.
//
// # Choosing
//
// Of two members drawn at random the one with fewer requests in flight is chosen (Mitzenmacher, "The Power of Two
// Choices in Randomized Load Balancing", 1996): the longest queue grows with log log n instead of log n/log log n, and
// balancers that know nothing of each other do not all run to the same idle member, as they do with "the least busy".
// Where releases have weights, the release is drawn first, in proportion, and two of its members then.
//
// A member that joins a pool in service starts slowly: its weight rises from 10 % to 100 % in 5 s, in a straight line
// (HAProxy's slowstart; Envoy's slow start with aggression 1 and min_weight_percent 10). The weight thins out its
// draws and divides the count in flight that is bearable, so that it works in a pool with next to no load, where all
// counts are zero, as in a busy one. Between one and two times the weight is what it gets of a full member's requests.
//
// # Ejecting
//
// A member is ejected when it does worse than the others (Envoy's outlier detection, HAProxy's observe layer7):
//
//   - three requests in a row failed: refused, reset, timed out, broken off;
//   - five answers or more in a row were 5xx;
//   - half of at least 20 answers in the last 5 s were 5xx;
//   - its answers of the last 10 s, at least 20, took more than five times as long as the others' and 50 ms longer.
//
// What all members have in common is no member's fault: when a release is bad or a database is gone, then taking
// members away only adds load to the others. So each rule asks whether the others are fine, and counts chance in: see
// clearlyWorse and clearlySlower. At most half of a pool is ejected, rounded down, so the last one never is.
//
// A member of a release that has no other is ejected like any, and its release's share goes to the others then: a
// release's judge should read ejections beside the answers. Three failures in a row are acted upon at once, so where a
// whole pool is cut off in the middle of its work, one member may be ejected before it shows that it is not alone.
//
// An ejection takes 5 s, and twice as long each time up to 60 s (Envoy: base_ejection_time, max_ejection_time). Then
// the member starts slowly; the first failure ejects it again. After a time without trouble it is forgiven.
//
// # Concurrency
//
// Everything is safe for concurrent use. [Group.Pick], [Member.Answered] and [Budget.Earn] use atomics only; but ten
// times a second the call that finds it due judges the pool, which takes a lock that no other such call waits for.
//
// Start reading at [Group.Pick], then [Member] and judge.
package balance
