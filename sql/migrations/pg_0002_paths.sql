-- depends: pg_0001_preconditions
-- Namespaces are segments, not strings: the rules for paths, and the id that is a pure function of one.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._segment_letters()
    returns text
    language sql
    immutable parallel safe
-- Letters, marks and decimal digits beyond ASCII (categories L, M, Nd of Unicode 14 without variation
-- selectors; gaps that were unassigned are inside), as ranges of a regular expression.
-- Frozen here, because [[:alpha:]] follows the locale of the database, and a path must mean the same everywhere.
return
        '\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02c1\u02c6-\u02d1\u02e0-\u02e4\u02ec\u02ee' ||
        '\u0300-\u034e\u0350-\u0374\u0376-\u037d\u037f\u0386\u0388-\u03f5\u03f7-\u0481\u0483-\u0559' ||
        '\u0560-\u0588\u0591-\u05bd\u05bf\u05c1-\u05c2\u05c4-\u05c5\u05c7-\u05f2\u0610-\u061a\u0620-\u0669' ||
        '\u066e-\u06d3\u06d5-\u06dc\u06df-\u06e8\u06ea-\u06fc\u06ff\u0710-\u07f5\u07fa-\u07fd\u0800-\u082d' ||
        '\u0840-\u085b\u0860-\u0887\u0889-\u088e\u0898-\u08e1\u08e3-\u0963\u0966-\u096f\u0971-\u09f1\u09fc' ||
        '\u09fe-\u0a75\u0a81-\u0aef\u0af9-\u0b6f\u0b71\u0b82-\u0bef\u0c00-\u0c6f\u0c80-\u0c83\u0c85-\u0d4e' ||
        '\u0d54-\u0d57\u0d5f-\u0d6f\u0d7a-\u0df3\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0f00' ||
        '\u0f18-\u0f19\u0f20-\u0f29\u0f35\u0f37\u0f39\u0f3e-\u0f84\u0f86-\u0fbc\u0fc6\u1000-\u1049' ||
        '\u1050-\u109d\u10a0-\u10fa\u10fc-\u135f\u1380-\u138f\u13a0-\u13fd\u1401-\u166c\u166f-\u167f' ||
        '\u1681-\u169a\u16a0-\u16ea\u16f1-\u1734\u1740-\u17d3\u17d7\u17dc-\u17e9\u1810-\u193b\u1946-\u19d9' ||
        '\u1a00-\u1a1b\u1a20-\u1a99\u1aa7\u1ab0-\u1b59\u1b6b-\u1b73\u1b80-\u1bf3\u1c00-\u1c37\u1c40-\u1c7d' ||
        '\u1c80-\u1cbf\u1cd0-\u1cd2\u1cd4-\u1fbc\u1fbe\u1fc2-\u1fcc\u1fd0-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ffc' ||
        '\u2071\u207f\u2090-\u209c\u20d0-\u20f0\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126' ||
        '\u2128\u212a-\u212d\u212f-\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183-\u2184\u2c00-\u2ce4' ||
        '\u2ceb-\u2cf3\u2d00-\u2d6f\u2d7f-\u2dff\u2e2f\u3005-\u3006\u302a-\u302f\u3031-\u3035\u303b-\u303c' ||
        '\u3041-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf' ||
        '\u4e00-\ua48c\ua4d0-\ua4fd\ua500-\ua60c\ua610-\ua672\ua674-\ua67d\ua67f-\ua6e5\ua6f0-\ua6f1' ||
        '\ua717-\ua71f\ua722-\ua788\ua78b-\ua827\ua82c\ua840-\ua873\ua880-\ua8c5\ua8d0-\ua8f7\ua8fb' ||
        '\ua8fd-\ua92d\ua930-\ua953\ua960-\ua9c0\ua9cf-\ua9d9\ua9e0-\uaa59\uaa60-\uaa76\uaa7a-\uaadd' ||
        '\uaae0-\uaaef\uaaf2-\uab5a\uab5c-\uab69\uab70-\uabea\uabec-\ud7fb\uf900-\ufb28\ufb2a-\ufbb1' ||
        '\ufbd3-\ufd3d\ufd50-\ufdc7\ufdf0-\ufdfb\ufe20-\ufe2f\ufe70-\ufefc\uff10-\uff19\uff21-\uff3a' ||
        '\uff41-\uff5a\uff66-\uffdc\U00010000-\U000100fa\U000101fd-\U000102e0\U00010300-\U0001031f' ||
        '\U0001032d-\U00010340\U00010342-\U00010349\U00010350-\U0001039d\U000103a0-\U000103cf' ||
        '\U00010400-\U00010563\U00010570-\U00010855\U00010860-\U00010876\U00010880-\U0001089e' ||
        '\U000108e0-\U000108f5\U00010900-\U00010915\U00010920-\U00010939\U00010980-\U000109b7' ||
        '\U000109be-\U000109bf\U00010a00-\U00010a3f\U00010a60-\U00010a7c\U00010a80-\U00010a9c' ||
        '\U00010ac0-\U00010ac7\U00010ac9-\U00010ae6\U00010b00-\U00010b35\U00010b40-\U00010b55' ||
        '\U00010b60-\U00010b72\U00010b80-\U00010b91\U00010c00-\U00010cf2\U00010d00-\U00010d39' ||
        '\U00010e80-\U00010eac\U00010eb0-\U00010f1c\U00010f27-\U00010f50\U00010f70-\U00010f85' ||
        '\U00010fb0-\U00010fc4\U00010fe0-\U00011046\U00011066-\U000110ba\U000110c2\U000110d0-\U0001113f' ||
        '\U00011144-\U00011173\U00011176-\U000111c4\U000111c9-\U000111cc\U000111ce-\U000111da\U000111dc' ||
        '\U00011200-\U00011237\U0001123e-\U000112a8\U000112b0-\U0001144a\U00011450-\U00011459' ||
        '\U0001145e-\U000114c5\U000114c7-\U000115c0\U000115d8-\U00011640\U00011644-\U00011659' ||
        '\U00011680-\U000116b8\U000116c0-\U00011739\U00011740-\U0001183a\U000118a0-\U000118e9' ||
        '\U000118ff-\U00011943\U00011950-\U000119e1\U000119e3-\U00011a3e\U00011a47-\U00011a99\U00011a9d' ||
        '\U00011ab0-\U00011c40\U00011c50-\U00011c59\U00011c72-\U00011ef6\U00011fb0\U00012000-\U00012399' ||
        '\U00012480-\U00012ff0\U00013000-\U0001342e\U00014400-\U00016a69\U00016a70-\U00016af4' ||
        '\U00016b00-\U00016b36\U00016b40-\U00016b43\U00016b50-\U00016b59\U00016b63-\U00016e7f' ||
        '\U00016f00-\U00016fe1\U00016fe3-\U0001bc99\U0001bc9d-\U0001bc9e\U0001cf00-\U0001cf46' ||
        '\U0001d165-\U0001d169\U0001d16d-\U0001d172\U0001d17b-\U0001d182\U0001d185-\U0001d18b' ||
        '\U0001d1aa-\U0001d1ad\U0001d242-\U0001d244\U0001d400-\U0001d6c0\U0001d6c2-\U0001d6da' ||
        '\U0001d6dc-\U0001d6fa\U0001d6fc-\U0001d714\U0001d716-\U0001d734\U0001d736-\U0001d74e' ||
        '\U0001d750-\U0001d76e\U0001d770-\U0001d788\U0001d78a-\U0001d7a8\U0001d7aa-\U0001d7c2' ||
        '\U0001d7c4-\U0001d7ff\U0001da00-\U0001da36\U0001da3b-\U0001da6c\U0001da75\U0001da84' ||
        '\U0001da9b-\U0001e14e\U0001e290-\U0001e2f9\U0001e7e0-\U0001e8c4\U0001e8d0-\U0001e959' ||
        '\U0001ee00-\U0001eebb\U0001fbf0-\U0003134a';
revoke all on function kompanion._segment_letters() from public;
comment on function kompanion._segment_letters() is
    'Internal. The letters beyond ASCII that a namespace segment may hold; the same table stands in Python, a test compares them.';

create function kompanion.namespace_segments(
    path text
)
    returns text[]
    language plpgsql
    immutable parallel safe
    set search_path from current
as $namespace_segments$
-- Splits a path into its segments, or refuses it with the rule it breaks.
declare
    v_segments text[];
    v_segment  text;
    v_problem  text;
begin
    -- Nearly every path. No segment of a short path is too long; counting to 128 in the expression would cost 80 us.
    if octet_length(path) <= 128 and path ~ '^[A-Za-z0-9_.@+=-]+(:[A-Za-z0-9_.@+=-]+){0,7}$' then
        return string_to_array(path, ':');
    end if;

    v_segments := string_to_array(path, ':');
    if path is null then
        v_problem := 'it is null';
    elsif path = '' then
        v_problem := 'it is empty';
    elsif cardinality(v_segments) > 8 then
        v_problem := format('it has %s segments, at most 8 are allowed', cardinality(v_segments));
    elsif octet_length(path) > 8 * 128 * 4 + 7 then
        v_problem := format('a segment has %s characters, at most 128 are allowed', (select max(length(s)) from unnest(v_segments) s));
    elsif path is not nfc normalized then
        v_problem := 'it is not in Unicode normal form NFC';
    else
        foreach v_segment in array v_segments loop
            v_problem := case
                when v_segment = '' then 'it has an empty segment'
                when length(v_segment) > 128 then format('a segment has %s characters, at most 128 are allowed', length(v_segment))
                when v_segment !~ ('^[A-Za-z0-9_.@+=' || kompanion._segment_letters() || '-]+$')
                    then format('segment %L holds a character other than letters, digits and _ - . @ + =', v_segment)
            end;
            exit when v_problem is not null;
        end loop;
    end if;

    if v_problem is null then
        return v_segments;
    end if;
    raise exception using
        errcode = 'KM002',
        message = format('bad namespace %s: %s', coalesce(quote_literal(left(path, 200)), 'NULL'), v_problem),
        hint    = case when v_problem like '%NFC' then 'Normalize it first: normalize(path, NFC).'
                  else 'A namespace is 1 to 8 segments joined by a colon, such as project:user:thread; '
                       'a segment is 1 to 128 letters, digits or _ - . @ + =.' end;
end;
$namespace_segments$;
revoke all on function kompanion.namespace_segments(text) from public;
comment on function kompanion.namespace_segments(text) is
    'Split a namespace path into its segments; KM002 names the rule a bad path breaks.';

create function kompanion.namespace_id(
    path text
)
    returns uuid
    language plpgsql
    immutable parallel safe
    set search_path from current
as $namespace_id$
-- The id of a namespace: the first 16 bytes of SHA-256 of its UTF-8 path.
-- A pure function, so no lookup is needed and every engine agrees. The formula never changes.
begin
    perform kompanion.namespace_segments(path);
    return encode(substr(sha256(convert_to(path, 'UTF8'::name)), 1, 16), 'hex')::uuid;
end;
$namespace_id$;
revoke all on function kompanion.namespace_id(text) from public;
comment on function kompanion.namespace_id(text) is
    'The id of a namespace: the first 16 bytes of SHA-256 of its path in UTF-8. Pure, the same on every engine. KM002 for a bad path.';

create function kompanion.is_live(
    deleted_at timestamptz,
    expires_at timestamptz
)
    returns boolean
    language sql
    stable parallel safe
return is_live.deleted_at is null and (is_live.expires_at is null or is_live.expires_at > now());
revoke all on function kompanion.is_live(timestamptz, timestamptz) from public;
comment on function kompanion.is_live(timestamptz, timestamptz) is
    'The one rule of visibility: neither deleted nor expired. Every view and function reads through it; the planner inlines it.';

create function kompanion._is_visible(
    content text
)
    returns boolean
    language sql
    immutable parallel safe
-- Whether there is a character to embed. White space by name: what \s means follows the locale of the database.
-- It is what Python takes for it, who cuts contents: with the four separators, such as the page break of an archive.
return content ~ '[^\t-\r\u001c-\u001f \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]';
revoke all on function kompanion._is_visible(text) from public;
comment on function kompanion._is_visible(text) is 'Internal. Whether content is more than white space.';
