// Checks access tokens with Go's standard library alone: JWKS_URL, ISSUER and ALGORITHM from the environment, one token a line.
// Says "sub N" or why not.
package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"
)

type jwk struct{ Alg, Crv, E, Kid, Kty, N, Use, X, Y string }

type header struct{ Alg, Kid, Typ string }

type claims struct {
	Iss, Aud, Sub string
	Exp           int64
}

func bytes(text string) []byte {
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return decoded
}

func number(text string) *big.Int { return new(big.Int).SetBytes(bytes(text)) }

func signed(key jwk, message, signature []byte) bool {
	hash := sha256.Sum256(message)
	switch key.Alg {
	case "ES256":
		if len(signature) != 64 {
			return false
		}
		public := ecdsa.PublicKey{Curve: elliptic.P256(), X: number(key.X), Y: number(key.Y)}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return ecdsa.Verify(&public, hash[:], r, s)
	case "EdDSA":
		public := bytes(key.X)
		return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, message, signature)
	case "RS256":
		public := rsa.PublicKey{N: number(key.N), E: int(number(key.E).Int64())}
		return rsa.VerifyPKCS1v15(&public, crypto.SHA256, hash[:], signature) == nil
	}
	return false
}

func check(keys []jwk, token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("form")
	}
	var head header
	var said claims
	if json.Unmarshal(bytes(parts[0]), &head) != nil || json.Unmarshal(bytes(parts[1]), &said) != nil {
		return "", errors.New("form")
	}
	for _, key := range keys {
		if key.Kid != head.Kid || key.Alg != head.Alg || key.Use != "sig" {
			continue
		}
		if head.Alg != os.Getenv("ALGORITHM") || head.Typ != "at+jwt" {
			return "", errors.New("header")
		}
		if !signed(key, []byte(parts[0]+"."+parts[1]), bytes(parts[2])) {
			return "", errors.New("signature")
		}
		if said.Iss != os.Getenv("ISSUER") || said.Aud != "latchkey" || said.Exp <= time.Now().Unix() {
			return "", errors.New("claims")
		}
		return said.Sub, nil
	}
	return "", errors.New("key")
}

func main() {
	answer, err := http.Get(os.Getenv("JWKS_URL"))
	if err != nil {
		panic(err)
	}
	var set struct{ Keys []jwk }
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if sub, err := check(set.Keys, lines.Text()); err == nil {
			fmt.Println("sub", sub)
		} else {
			fmt.Println("refused", err)
		}
	}
}
