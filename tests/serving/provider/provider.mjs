// An issuer for one test: prints its address once it listens. Usage: node provider.mjs ISSUER PORT
// where the packages of package-lock.json are, which `make test-all` sees to.
import { generateKeyPairSync } from 'node:crypto';

import Provider from 'oidc-provider';

const [issuer, port] = process.argv.slice(2);
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'ehr',
      client_secret: 'of-a-test',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: 'ES256',
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256' }] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:garant',
      getResourceServerInfo: () => ({
        scope: '',
        audience: 'garant.test',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  extraTokenClaims: () => ({ SubjectNameID: '810000000001', roles: ['clinician'] }),
});

provider.listen(Number(port), '127.0.0.1', () => console.log(issuer));
