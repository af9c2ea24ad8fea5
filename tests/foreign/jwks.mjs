// Checks access tokens as jose does: JWKS_URL, ISSUER, ALGORITHM and TOOLS from the environment, one token a line. Says "sub N" or
// why not.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const { JWKS_URL, ISSUER, ALGORITHM, TOOLS } = process.env
const { createRemoteJWKSet, jwtVerify } = createRequire(`${TOOLS}/package.json`)('jose')
const keys = createRemoteJWKSet(new URL(JWKS_URL))
for await (const token of createInterface({ input: process.stdin })) {
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: ISSUER,
      audience: 'latchkey',
      algorithms: [ALGORITHM],
      typ: 'at+jwt',
      requiredClaims: ['exp', 'iat', 'sub', 'jti', 'client_id'],
    })
    console.log('sub', payload.sub)
  } catch (error) {
    console.log('refused', error.code)
  }
}
