package inquiry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/ikada/ikada/api"
)

// mostAnswer bounds what a Prometheus may answer, in bytes.
const mostAnswer = 4 << 20

// query asks for the value of a query, and compares it.
func (a *Asker) query(ctx context.Context, q *Question, token string) Answer {
	c := q.Check.PromQL
	text := api.FillCheck(c.Query, quoted(q))
	var values []float64
	var err error
	switch {
	case c.Prometheus != "":
		values, err = a.askPrometheus(ctx, c.Prometheus, token, text)
	case a.cfg.Metrics == nil:
		return unknown("ikada's own metrics are not kept")
	default:
		values, err = a.cfg.Metrics.Values(ctx, q.Env, text)
	}
	switch {
	case err != nil:
		return unknown("%s", cause(err))
	case len(values) == 0:
		return unknown("the query has no value")
	}
	return compare(values, c.Min, c.Max)
}

// quoted gives values that can stand between quotes in a query: names and numbers do anyway.
func quoted(q *Question) map[string]string {
	values := q.Check.Values(q.Env, q.Release)
	for k, v := range values {
		text := strconv.Quote(v)
		values[k] = text[1 : len(text)-1]
	}
	return values
}

// compare says whether all values are within their bounds; either bound may be nil. The worst is told.
func compare(values []float64, least, most *float64) Answer {
	worst, excess := values[0], math.Inf(-1)
	for _, v := range values {
		if math.IsNaN(v) {
			return unknown("the query's value is no number (NaN): there may be nothing to divide by yet")
		}
		over := math.Inf(-1)
		if most != nil {
			over = v - *most
		}
		if least != nil {
			over = max(over, *least-v)
		}
		if over > excess {
			worst, excess = v, over
		}
	}
	value := api.Number(worst)
	out := Answer{Result: api.VerdictPass, Value: &value}
	switch {
	case most != nil && worst > *most:
		out.Result, out.Reason = api.VerdictFail, fmt.Sprintf("%s > %s", short(worst), short(*most))
	case least != nil && worst < *least:
		out.Result, out.Reason = api.VerdictFail, fmt.Sprintf("%s < %s", short(worst), short(*least))
	case most != nil && least != nil:
		out.Reason = fmt.Sprintf("%s, within %s to %s", short(worst), short(*least), short(*most))
	case most != nil:
		out.Reason = fmt.Sprintf("%s, at most %s", short(worst), short(*most))
	default:
		out.Reason = fmt.Sprintf("%s, at least %s", short(worst), short(*least))
	}
	if len(values) > 1 {
		out.Reason += fmt.Sprintf(", the worst of %d series", len(values))
	}
	return out
}

// short gives four significant digits.
func short(f float64) string { return strconv.FormatFloat(f, 'g', 4, 64) }

// promAnswer is what /api/v1/query answers.
type promAnswer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

// promValue is a time and a number in text.
type promValue [2]any

func (v promValue) number() (float64, error) {
	text, ok := v[1].(string)
	if !ok {
		return 0, fmt.Errorf("a value is %v, not a number in text", v[1])
	}
	return strconv.ParseFloat(text, 64)
}

// askPrometheus asks a server for the present value of a query.
func (a *Asker) askPrometheus(ctx context.Context, server, token, query string) ([]float64, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, errors.New("the server's URL cannot be read")
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/api/v1/query"
	values := u.Query()
	values.Set("query", query)
	u.RawQuery = values.Encode()
	resp, err := a.fetch(ctx, u.String(), token, nil, "", "")
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %s", cause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read Prometheus' answer: %s", cause(err))
	}
	if len(body) > mostAnswer {
		return nil, fmt.Errorf("Prometheus' answer is larger than %d bytes: aggregate more", mostAnswer) //nolint:staticcheck // a name
	}
	var answer promAnswer
	if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK || answer.Status != "success" {
		text := answer.Error
		if text == "" {
			text = firstLine(body)
		}
		return nil, fmt.Errorf("Prometheus answers status %d: %s", resp.StatusCode, text) //nolint:staticcheck // a name
	}
	return answer.values()
}

func (a *promAnswer) values() ([]float64, error) {
	switch a.Data.Type {
	case "scalar":
		var v promValue
		if err := json.Unmarshal(a.Data.Result, &v); err != nil {
			return nil, fmt.Errorf("read Prometheus' answer: %w", err)
		}
		n, err := v.number()
		return []float64{n}, err
	case "vector":
		var list []struct {
			Value *promValue `json:"value"`
		}
		if err := json.Unmarshal(a.Data.Result, &list); err != nil {
			return nil, fmt.Errorf("read Prometheus' answer: %w", err)
		}
		var out []float64
		for _, s := range list {
			if s.Value == nil {
				return nil, errors.New("the query gives a histogram, not a number")
			}
			n, err := s.Value.number()
			if err != nil {
				return nil, err
			}
			out = append(out, n)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the query gives a %s, not a number", a.Data.Type)
}
