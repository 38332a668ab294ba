package cli

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// proof gives a deployment all that its receipt may hold.
func proof(d *api.Deployment) {
	at := func(s float64) time.Time { return d.StartedAt.Add(time.Duration(s * float64(time.Second))) }
	step := func(name, service string, from, took float64) api.Step {
		return api.Step{Name: name, Service: service, At: at(from), Took: api.Duration(took * float64(time.Second)), Ended: true}
	}
	share := func(weight int, from, took float64) api.Step {
		s := step(api.StepShare, "web", from, took)
		s.Weight = weight
		return s
	}
	d.CreatedBy = "ann"
	d.Target = &api.Content{Release: d.To, Commit: "1a2b3c4d5e6f7a8b9c", Message: "try\x1b[2J it", From: &api.Origin{Env: "staging", Release: 2},
		Images: map[string]string{"web": "127.0.0.1:7600/shop/web@sha256:0123456789abcdef0123456789abcdef", "worker": "worker:1"}}
	d.Replaced = &api.Content{Release: d.From, Images: map[string]string{"web": "127.0.0.1:7600/shop/web@sha256:fedcba9876543210fedcba9876543210", "worker": "worker:1"}}
	d.Steps = []api.Step{step(api.StepBuild, "web", -22.5, 21.25), step(api.StepQueue, "", -0.004, 0.004), step(api.StepCommand, "web", 0.01, 1.2),
		step(api.StepPull, "web", 1.25, 0.8), step(api.StepStart, "web", 2.05, 0.0925), step(api.StepCheck, "web", 2.15, 1.001),
		share(25, 3.2, 30), share(50, 33.2, 30), share(100, 63.2, 0), step(api.StepDrain, "web", 63.2, 0.3), step(api.StepMonitor, "", 63.5, 5),
		{Name: api.StepTrial, At: at(68.5)}}
	d.Trial, d.BakedAt = api.TrialOn, at(668.5)
	v := api.Verdict{Service: "web", Result: api.VerdictPass, Reason: "0 % of 1,204 requests failed, 0 % of 2,400 of release 3 at the same time", At: at(40),
		Numbers: &api.VerdictNumbers{Baseline: "same time", New: api.VerdictSample{Release: 4, Requests: 1204}, Old: api.VerdictSample{Release: 3, Requests: 2400}}}
	d.Verdicts, d.Turns = []api.Verdict{v}, []api.Verdict{v}
	r := &d.Receipt
	r.Failed, r.Held, r.Retried = 3, 12, 4
	r.Releases = []api.ReleaseReceipt{{Requests: 2, Failed: 2, LongestWait: api.Duration(10 * time.Second), Held: 2},
		{Release: 3, Requests: 1034563, Failed: 1, LongestWait: api.Duration(123456789)}, {Release: 4, Requests: 200002, LongestWait: api.Duration(45 * time.Millisecond), Held: 10, Retried: 4}}
	r.WayBack = &api.WayBack{Release: 3, Warm: 3, Until: noon.Add(5 * time.Minute), Cold: []string{"worker"}, Starts: api.Duration(1100 * time.Millisecond)}
}

// A receipt is checked as a whole: whatever digit is changed.
func TestVerifyReceipt(t *testing.T) {
	var d api.Deployment
	d.EnvRef, d.Number, d.From, d.To, d.State, d.StartedAt = shop, 7, 3, 4, api.DeploySucceeded, ago(time.Hour)
	proof(&d)
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public := key.Public().(ed25519.PublicKey)
	sign := func(payload []byte) api.Envelope {
		e := api.Envelope{PayloadType: api.ReceiptType, Payload: payload}
		e.Signatures = []api.EnvelopeSignature{{KeyID: api.KeyID(public), Signature: ed25519.Sign(key, e.Signed())}}
		return e
	}
	verify := func(e api.Envelope) result {
		file := filepath.Join(t.TempDir(), "receipt.json")
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return newFake(t).ikada(t.Context(), "", "", "receipt", "--verify", file, "--key", hex.EncodeToString(public))
	}
	payload, err := json.Marshal(api.SignedReceipt{Deployment: d, IssuedAt: noon})
	if err != nil {
		t.Fatal(err)
	}
	e := sign(payload)
	if r := verify(e); r.code != 0 || !strings.Contains(r.out, "1,034,563") || !strings.Contains(r.out, "Signed by key "+api.KeyID(public)) {
		t.Fatalf("exit %d, %s%s", r.code, r.out, r.err)
	}
	for _, digits := range []string{`"requests":1034563`, `"took":"21.25s"`, `"requests":1204`, `"retried":4`, "fedcba9876543210", "05:00Z"} {
		i := strings.Index(string(payload), digits)
		if i < 0 {
			t.Fatalf("%s is not signed: %s", digits, payload)
		}
		last := i + strings.LastIndexAny(digits, "0123456789")
		changed := e
		changed.Payload = bytes.Clone(payload)
		changed.Payload[last] = '0' + (payload[last]-'0'+1)%10
		if r := verify(changed); r.code != ExitError || !strings.Contains(r.err, "was changed") {
			t.Errorf("%s: exit %d, %s", digits, r.code, r.err)
		}
	}
	// What was signed before receipts held all that.
	old := sign([]byte(`{"deployment":{"app":"shop","env":"production","number":3,"kind":"deploy","from":1,"to":2,"state":"succeeded",` +
		`"receipt":{"requests":12,"failed":0,"longestWait":"5ms","took":"7s","rollback":"release 1 is kept, 2 of its tasks warm"},` +
		`"createdAt":"2026-01-02T15:04:05Z","verdicts":[{"service":"web","result":"pass","reason":"0 % of 12 failed","at":"2026-01-02T15:04:05Z"}]},"issuedAt":"2026-01-02T15:04:05Z"}`))
	if r := verify(old); r.code != 0 || !strings.Contains(r.out, "release 1 is kept, 2 of its tasks warm") || !strings.Contains(r.out, "web: pass: 0 % of 12 failed") {
		t.Errorf("an old one: exit %d, %s%s", r.code, r.out, r.err)
	}
}
