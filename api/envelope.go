package api

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Envelope is a signed document: the Dead Simple Signing Envelope, version 1.0 (github.com/secure-systems-lab/dsse).
type Envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"` // base64 in JSON, as all bytes
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature is one signature over [Envelope.Signed], by Ed25519.
type EnvelopeSignature struct {
	KeyID     string `json:"keyid"` // as of KeyID; a hint
	Signature []byte `json:"sig"`
}

// ReceiptType is the PayloadType of a signed receipt; its payload is a SignedReceipt as JSON.
const ReceiptType = "application/vnd.ikada.receipt+json"

// SignedReceipt is what a receipt says for others to check: the deployment as it was, and what it brought.
type SignedReceipt struct {
	Deployment Deployment        `json:"deployment"`
	Commit     string            `json:"commit,omitempty"`  // of the source
	Message    string            `json:"message,omitempty"` // of the release
	ReleasedBy string            `json:"releasedBy,omitempty"`
	Images     map[string]string `json:"images,omitempty"` // by service, pinned by digest
	Hash       string            `json:"hash,omitempty"`   // of the release's content
	IssuedAt   time.Time         `json:"issuedAt"`
	Node       string            `json:"node,omitempty"` // that signed it
}

// SigningKey is the public key by which receipts are checked.
type SigningKey struct {
	ID  string `json:"id"`
	Key []byte `json:"key"` // Ed25519, 32 bytes
}

// KeyID names a public key: the first half of its SHA-256, in hex.
func KeyID(public []byte) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:len(sum)/2])
}

// Signed gives the bytes that signatures are of: DSSE's pre-authentication encoding.
func (e *Envelope) Signed() []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload)
}

// Receipt gives the receipt in the envelope if the key has signed it. Errors are of kind Invalid.
func (e *Envelope) Receipt(public []byte) (*SignedReceipt, error) {
	if len(public) != ed25519.PublicKeySize {
		return nil, FieldError("key", fmt.Sprintf("%d bytes", len(public)), "an Ed25519 key of 32 bytes")
	}
	if e.PayloadType != ReceiptType {
		return nil, FieldError("payloadType", e.PayloadType, ReceiptType)
	}
	signed := false
	for _, s := range e.Signatures {
		signed = signed || ed25519.Verify(public, e.Signed(), s.Signature)
	}
	if !signed {
		return nil, Errorf(Invalid, "the receipt is not signed by key %s, or was changed", KeyID(public))
	}
	var r SignedReceipt
	if err := json.Unmarshal(e.Payload, &r); err != nil {
		return nil, Errorf(Invalid, "read receipt: %w", err)
	}
	return &r, nil
}
