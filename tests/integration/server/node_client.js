// The vendor's unmodified Node client against the local service: argv is URL, secret id, secret key. Prints one JSON document.
const COS = require('cos-nodejs-sdk-v5');

const [url, SecretId, SecretKey] = process.argv.slice(2);
const Bucket = 'media-1250000000';
const Region = 'ap-chongqing';
const cos = new COS({ SecretId, SecretKey, Protocol: 'http:', Domain: url.replace('http://', ''), ForcePathStyle: false });

function ci(Method, Path, Query, Body) {
  return cos.request({ Bucket, Region, Method, Key: Path, Url: `${url}/${Path}`, Query, Body, ContentType: Body ? 'application/xml' : undefined });
}

const body = COS.util.json2xml({
  Request: {
    Tag: 'VoiceSeparate',
    Input: { Object: 'in/ö.mp3' },
    Operation: {
      VoiceSeparate: { AudioMode: 'AudioAndBackground', AudioConfig: { Codec: 'mp3' } },
      Output: { Region, Bucket, Object: 'out/b.${ext}', AuObject: 'out/v.${ext}' },
      UserData: 'from node',
    },
  },
});

(async () => {
  const told = {};
  const submitted = await ci('POST', 'jobs', undefined, body);
  const id = submitted.Response.JobsDetail.JobId;
  told.submitted = submitted.Response.JobsDetail;
  for (let turn = 0; turn < 500; turn += 1) {
    told.queried = (await ci('GET', `jobs/${id}`)).Response.JobsDetail;
    if (told.queried.State === 'Success') break;
  }
  told.both = (await ci('GET', `jobs/${id},j${'0'.repeat(32)}`)).Response;
  told.listed = (await ci('GET', 'jobs', { tag: 'VoiceSeparate', size: 10 })).Response.JobsDetail;
  told.put = await cos.putObject({ Bucket, Region, Key: 'x/a b+c.txt', Body: 'hello' });
  told.got = (await cos.getObject({ Bucket, Region, Key: 'x/a b+c.txt' })).Body.toString();
  told.head = (await cos.headObject({ Bucket, Region, Key: 'x/a b+c.txt' })).headers;
  told.keys = (await cos.getBucket({ Bucket, Region, Prefix: 'x/' })).Contents.map((entry) => entry.Key);
  try {
    await cos.getObject({ Bucket, Region, Key: 'nothing' });
  } catch (error) {
    told.error = { code: error.code, status: error.statusCode };
  }
  process.stdout.write(JSON.stringify(told));
})().catch((error) => {
  process.stderr.write(`${error.stack || JSON.stringify(error)}\n`);
  process.exit(1);
});
