package client

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	failurePoll = time.Second // between two looks for new failures

	// failureOverlap is how far back each look reaches: failures of the same moment become known one after another.
	failureOverlap = 5 * time.Second
)

// Traffic tells what the requests of an environment have met lately.
func (c *Client) Traffic(ctx context.Context, ref api.EnvRef, q api.TrafficQuery) (api.Traffic, error) {
	v := flag("points", q.Points)
	if v == nil {
		v = url.Values{}
	}
	set(v, "by", q.By)
	if q.Since != 0 {
		v.Set("since", q.Since.String())
	}
	return fetch[api.Traffic](ctx, c, http.MethodGet, envPath(ref, "traffic"), v, nil)
}

// Failures explains the last failed requests of an environment, the newest first.
func (c *Client) Failures(ctx context.Context, ref api.EnvRef, q api.FailureQuery) ([]api.Failure, error) {
	v := url.Values{}
	if q.Last != 0 {
		v.Set("n", strconv.Itoa(q.Last))
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	return fetch[[]api.Failure](ctx, c, http.MethodGet, envPath(ref, "failures"), v, nil)
}

// FollowFailures calls each for every failure that q chooses, in order of time, and for every one that comes after,
// until ctx ends or each fails. It asks again and again; of more than api.MaxFailures within a second some are missed.
// A server that does not answer for a minute ends it.
func (c *Client) FollowFailures(ctx context.Context, ref api.EnvRef, q api.FailureQuery, each func(api.Failure) error) error {
	told := map[api.Failure]bool{}
	var first time.Time // of the oldest that q chooses
	for reached := time.Now(); ; {
		list, err := c.Failures(ctx, ref, q)
		if err != nil && (!api.IsKind(err, api.Unavailable) || ctx.Err() != nil || time.Since(reached) > reconnectFor) {
			return err
		}
		if err == nil {
			reached = time.Now()
			for _, f := range slices.Backward(list) {
				if told[f] || f.Time.Before(first) {
					continue
				}
				told[f] = true
				if err := each(f); err != nil {
					return err
				}
			}
			q.Last = api.MaxFailures
			if len(list) > 0 {
				q.Since = list[0].Time.Add(-failureOverlap)
				if first.IsZero() {
					first = list[len(list)-1].Time
				}
			}
			for f := range told {
				if f.Time.Before(q.Since) {
					delete(told, f)
				}
			}
		}
		select {
		case <-ctx.Done():
			return c.unreachable(ctx, ctx.Err())
		case <-time.After(failurePoll):
		}
	}
}
