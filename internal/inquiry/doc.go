// Package inquiry asks users' own checks of releases: HTTP requests to tasks and to addresses outside, and PromQL, of
// ikada's own metrics or of a Prometheus. It decides nothing: what an answer means for a release is the planner's.
//
// It runs where the leader is, with what its user may deploy: so it follows no redirect, goes through no proxy, and
// reaches the node itself, its neighbours by link and what hands out credentials there only where the URL says so, which
// an administrator of the cluster has then allowed ([api.Near]). What it gives back has no secret in it: neither a token nor
// a query string. Safe for concurrent use. Start at [Asker.Ask].
package inquiry
